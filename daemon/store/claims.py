"""Who works on which suggestion, in SQL: one holder at a time, with a lease that only the daemon's own life uses up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.errors import IllegalTransitionError
from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class Claim:
    """A patch that somebody works on, or worked on. left_s: what is left of the lease. ended: None while it is held, else a
    word of `daemon.store.schema_claims.ENDINGS`; ended_by: who took it over or answered."""

    id: int
    suggestion: str
    user: str
    since: float
    left_s: float
    ended: str | None
    ended_by: str


class Claims:
    """Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)

    def holder(self, suggestion_id: str) -> Claim | None:
        """Who has a suggestion now."""
        return self._newest("suggestion_id = ? AND ended IS NULL", suggestion_id)

    def latest_of(self, suggestion_id: str, user: str) -> Claim | None:
        """The newest time that a user took a suggestion, held or ended."""
        return self._newest("suggestion_id = ? AND user = ?", suggestion_id, user)

    def latest(self, suggestion_id: str) -> Claim | None:
        """The newest time that anybody took a suggestion, held or ended."""
        return self._newest("suggestion_id = ?", suggestion_id)

    def _newest(self, where: str, *arguments: str) -> Claim | None:
        sql = f"SELECT * FROM claim WHERE {where} ORDER BY id DESC LIMIT 1"
        return next((_claim(r) for r in self._db.query(sql, list(arguments))), None)

    def held_by(self, user: str) -> list[str]:
        """Suggestions that a user has now, the one taken last first."""
        sql = "SELECT suggestion_id AS s FROM claim WHERE user = ? AND ended IS NULL ORDER BY id DESC"
        return [r["s"] for r in self._db.query(sql, [user])]

    def any_held(self) -> bool:
        """Does anybody have anything?"""
        return any(self._db.query("SELECT 1 FROM claim WHERE ended IS NULL LIMIT 1"))

    def take(self, suggestion_id: str, user: str, lease_s: float, now: float) -> Claim | None:
        """Let a user have a suggestion; returns the claim that this ends, of another user, if there is one.

        One that the user has already begins its lease anew. Raises IllegalTransitionError for one that waits for nobody.
        """
        with transaction(self._db):
            held = self.holder(suggestion_id)
            if held is not None and held.user == user:
                self._db.execute("UPDATE claim SET left_s = ? WHERE id = ?", [lease_s, held.id])
                return None
            if held is None:
                self._annotation.move(suggestion_id, "claimed", self._note(suggestion_id), now)
            else:
                self._db.execute(
                    "UPDATE claim SET ended = 'taken over', ended_by = ?, ended_at = ? WHERE id = ?",
                    [user, now, held.id],
                )
            row = {"suggestion_id": suggestion_id, "user": user, "since": now, "left_s": lease_s}
            insert(self._db, "claim", row)
        return held

    def give_back(self, suggestion_id: str, how: str, now: float) -> None:
        """Nobody has the suggestion any more: it waits as before. how: "released" or "expired".

        Raises IllegalTransitionError when nobody has it.
        """
        with transaction(self._db):
            if self.holder(suggestion_id) is None:
                raise IllegalTransitionError(f"nobody has {suggestion_id}")
            newest = "SELECT state FROM received WHERE suggestion_id = ? ORDER BY id DESC LIMIT 1"
            before = next((r["state"] for r in self._db.query(newest, [suggestion_id])), "")
            finish = "rejected" if before == "rejected" else "open"
            self._annotation.move(suggestion_id, finish, self._note(suggestion_id), now, ended=how)

    def pass_time(self, step_s: float, now: float) -> list[Claim]:
        """The daemon lived for so many seconds: claims whose lease has run out go back to the queue, and are returned."""
        with transaction(self._db):
            self._db.execute("UPDATE claim SET left_s = MAX(0, left_s - ?) WHERE ended IS NULL", [step_s])
            sql = "SELECT * FROM claim WHERE ended IS NULL AND left_s <= 0 ORDER BY id"
            gone = [_claim(r) for r in list(self._db.query(sql))]
            for claim in gone:
                self.give_back(claim.suggestion, "expired", now)
        return gone

    def next_for(
        self, user: str, waits: Callable[[str], bool], begun: Callable[[str], bool | None] = lambda suggestion_id: None
    ) -> str | None:
        """What a user is to annotate next: what they have already, then what came back to them to be mended, then what they
        have begun, then the best of those that are ready and nobody has, those last that others have begun; never a blind
        repeat of a patch that they drew themselves.

        waits: does a label of this suggestion lie in the inbox, not yet looked at? begun: has this user a draft of it
        (True), only somebody else (False), or nobody (None)?
        """
        sql = (
            "SELECT s.id, s.state FROM suggestion s WHERE s.published = 1 AND s.state IN ('open', 'rejected')"
            " AND (s.state = 'open' OR ? = (SELECT r.author FROM received r WHERE r.suggestion_id = s.id"
            " ORDER BY r.id DESC LIMIT 1)) ORDER BY s.state = 'open', s.rank"
        )
        rows = list(self._db.query(sql, [user]))
        whose = {r["id"]: begun(r["id"]) for r in rows if r["state"] == "open"}
        free = [str(r["id"]) for r in rows]
        free.sort(key=lambda s: 0 if s not in whose else {True: 1, None: 2, False: 3}[whose[s]])
        found = (s for s in [*self.held_by(user), *free] if not waits(s) and not self.drew_before(s, user))
        return next(found, None)

    def drew_before(self, suggestion_id: str, user: str) -> bool:
        """Is that a blind repeat of a patch that this user labelled?"""
        sql = (
            "SELECT 1 FROM suggestion s JOIN received r ON r.suggestion_id = s.repeat_of"
            " WHERE s.id = ? AND r.author = ? AND r.state = 'accepted' LIMIT 1"
        )
        return any(self._db.query(sql, [suggestion_id, user]))

    def _note(self, suggestion_id: str) -> str:
        """What is said of a suggestion stays while it changes hands."""
        return str(next(self._db.query("SELECT note FROM suggestion WHERE id = ?", [suggestion_id]))["note"])


def _claim(r: Mapping[str, Any]) -> Claim:
    return Claim(r["id"], r["suggestion_id"], r["user"], r["since"], r["left_s"], r["ended"], r["ended_by"])
