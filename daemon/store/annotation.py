"""Suggestions in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon.machine import SUGGESTION_TRANSITIONS, check_transition
from daemon.store.connection import transaction
from daemon.store.rows import Neighbour, Picked, Ranked, SuggestionRow
from daemon.store.schema_claims import TAKEN_BACK
from daemon.store.volumes import full_name, patch_row

if TYPE_CHECKING:
    from sqlite_utils import Database

_SUGGESTION = """
SELECT s.id AS sid, s.rank, s.distance, s.reason, s.state, s.package, s.arm, s.why, s.repeat_of, p.*
FROM suggestion s JOIN patch p ON p.id = s.patch_id
"""


def _suggestion(r: Mapping[str, Any]) -> SuggestionRow:
    return SuggestionRow(
        id=r["sid"],
        patch=patch_row(r),
        rank=r["rank"],
        distance=r["distance"],
        reason=r["reason"],
        state=r["state"],
        package=r["package"],
        arm=r["arm"],
        why=json.loads(r["why"]),
        repeat_of=r["repeat_of"],
    )


class Annotation:
    """Patches that are put before an expert."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # suggestions

    def n_waiting_for_expert(self) -> int:
        """Suggestions that somebody could begin with now: those that people are at leave room for others, and blind repeats are
        not for everybody."""
        sql = "SELECT COUNT(*) AS n FROM suggestion WHERE state IN ('open', 'rejected') AND repeat_of IS NULL"
        return int(next(self._db.query(sql))["n"])

    def n_under_check(self) -> int:
        """Suggestions whose label has come in and is being checked."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM suggestion WHERE state = 'submitted'"))["n"])

    def suggest(self, picks: Sequence[Picked], now: float, level: str = "") -> list[str]:
        """Queue patches in order. Patches that were suggested before are left out, unless they were taken back; one that was
        held back is so no more. level: name of the pool that they were chosen from."""
        made = []
        with transaction(self._db):
            rank = int(next(self._db.query("SELECT COALESCE(MAX(rank), 0) AS n FROM suggestion"))["n"])
            for pick in picks:
                patch = self._patch_id(pick.volume_id, pick.row)
                known = "SELECT id, skip_kind FROM suggestion WHERE patch_id = ? AND repeat_of IS NULL"
                before = next(self._db.query(known, [patch]), None)
                if patch is None or (before is not None and before["skip_kind"] != TAKEN_BACK):
                    continue
                rank += 1
                row = self._row(pick, patch) | {"rank": rank, "level": level, "created_at": now}
                if before is None:
                    made.append(f"s{rank:05d}")
                    more = {"id": made[-1], "state": "open", "changed_at": now}
                    self._db.table("suggestion").insert(row | more)
                else:
                    made.append(str(before["id"]))
                    self.move(made[-1], "open", "", now)
                    self._db.table("suggestion").update(made[-1], row)
                    # its folder says why it was chosen: made anew, unless the former one has not been taken away yet
                    sql = "UPDATE suggestion SET package = NULL WHERE id = ? AND published = 0"
                    self._db.execute(sql, [made[-1]])
                self._db.execute("UPDATE qc SET state = 'suggested' WHERE patch_id = ?", [patch])
        return made

    def _row(self, pick: Picked, patch: int) -> dict[str, Any]:
        """The columns of a suggestion that say why."""
        near = [(self._patch_id(volume, row), distance) for volume, row, distance in pick.neighbours]
        return {
            "patch_id": patch,
            "distance": pick.distance,
            "reason": pick.reason,
            "arm": pick.arm,
            "why": json.dumps(dict(pick.why)),
            "nearest": None if pick.nearest is None else self._patch_id(*pick.nearest),
            "neighbours": json.dumps([{"patch": n, "distance": d} for n, d in near if n is not None]),
        }

    def open_id(self, volume_id: int, row: int) -> str | None:
        """The open suggestion of a patch, which nobody has taken; None when there is none."""
        sql = (
            "SELECT s.id FROM suggestion s JOIN patch p ON p.id = s.patch_id"
            " WHERE p.volume_id = ? AND p.row = ? AND s.state = 'open' AND s.repeat_of IS NULL"
        )
        return next((str(r["id"]) for r in self._db.query(sql, [volume_id, row])), None)

    def take_back(self, suggestion_id: str, why: str, now: float) -> None:
        """Take an open suggestion out of the queue; it may be made again. Raises IllegalTransitionError for a claimed one."""
        with transaction(self._db):
            self.move(suggestion_id, "skipped", f"taken back: {why}", now, skip_kind=TAKEN_BACK)

    def rerank(self, order: Sequence[Ranked]) -> int:
        """Let open suggestions of the strategy change places among themselves; all others stay where they are. order: the next
        one first; what nobody could take now is passed over. Returns how many moved."""
        sql = (
            "SELECT s.id, s.rank FROM suggestion s JOIN patch p ON p.id = s.patch_id"
            " WHERE p.volume_id = ? AND p.row = ? AND s.state = 'open' AND s.arm = 'selected' AND s.repeat_of IS NULL"
        )
        with transaction(self._db):
            found = [(r, next(self._db.query(sql, [r.volume_id, r.row]), None)) for r in order]
            waits = [(ranked, row) for ranked, row in found if row is not None]
            places = sorted(int(row["rank"]) for _, row in waits)
            for place, (ranked, row) in zip(places, waits, strict=True):
                nearest = None if ranked.nearest is None else self._patch_id(*ranked.nearest)
                change = "UPDATE suggestion SET rank = ?, distance = COALESCE(?, distance), nearest = COALESCE(?, nearest) WHERE id = ?"
                self._db.execute(change, [place, ranked.distance, nearest, row["id"]])
        return sum(place != row["rank"] for place, (_, row) in zip(places, waits, strict=True))

    def _patch_id(self, volume_id: int, row: int) -> int | None:
        sql = "SELECT id FROM patch WHERE volume_id = ? AND row = ?"
        return next((int(r["id"]) for r in self._db.query(sql, [volume_id, row])), None)

    def neighbours(self, suggestion_id: str) -> list[Neighbour]:
        """The labelled patches that a suggestion looked most like when it was made, nearest first."""
        sql = (
            "SELECT t.id AS sid, t.package, v.name, v.part, p.*, n.value ->> 'distance' AS distance"
            " FROM suggestion s, json_each(s.neighbours) n JOIN suggestion t ON t.patch_id = n.value ->> 'patch'"
            " AND t.repeat_of IS NULL"
            " JOIN patch p ON p.id = t.patch_id JOIN volume v ON v.id = p.volume_id WHERE s.id = ? ORDER BY n.key"
        )
        return [
            Neighbour(r["sid"], full_name(r["name"], r["part"]), patch_row(r).box, r["distance"], r["package"])
            for r in self._db.query(sql, [suggestion_id])
        ]

    def suggestion(self, suggestion_id: str) -> SuggestionRow | None:
        """One suggestion, or None."""
        if not suggestion_id.isascii():  # what comes from the name of a file may be no text, which SQLite refuses
            return None
        return next((_suggestion(r) for r in self._db.query(_SUGGESTION + "WHERE s.id = ?", [suggestion_id])), None)

    def unpackaged(self) -> list[SuggestionRow]:
        """Suggestions whose folder for the expert has not been made yet."""
        sql = _SUGGESTION + "WHERE s.package IS NULL AND s.state IN ('open', 'claimed') ORDER BY s.rank"
        return [_suggestion(r) for r in self._db.query(sql)]

    def packaged(self, suggestion_id: str, artifact: str) -> None:
        """The folder's content has been made."""
        with transaction(self._db):
            self._db.execute("UPDATE suggestion SET package = ? WHERE id = ?", [artifact, suggestion_id])

    def to_publish(self) -> list[SuggestionRow]:
        """Suggestions whose folder is made and not yet in the queue."""
        sql = _SUGGESTION + (
            "WHERE s.published = 0 AND s.package IS NOT NULL AND s.state IN ('open', 'claimed', 'rejected') ORDER BY s.rank"
        )
        return [_suggestion(r) for r in self._db.query(sql)]

    def to_withdraw(self) -> list[SuggestionRow]:
        """Answered suggestions whose folder still lies in the queue."""
        sql = _SUGGESTION + "WHERE s.published = 1 AND s.state IN ('accepted', 'skipped')"
        return [_suggestion(r) for r in self._db.query(sql)]

    def set_published(self, suggestion_id: str, published: bool) -> None:
        """Whether queue/<id> lies there for people."""
        with transaction(self._db):
            self._db.execute("UPDATE suggestion SET published = ? WHERE id = ?", [int(published), suggestion_id])

    def move(
        self, suggestion_id: str, finish: str, note: str, now: float, skip_kind: str = "", ended: str = "", by: str = ""
    ) -> None:
        """Change a suggestion's state; whoever holds it, holds it no more. Raises IllegalTransitionError.

        skip_kind: why it is skipped. ended, by: how the claim ends, where the state does not tell, and by whom.
        """
        with transaction(self._db):
            start = next(self._db.query("SELECT state FROM suggestion WHERE id = ?", [suggestion_id]))["state"]
            check_transition(f"suggestion {suggestion_id}", SUGGESTION_TRANSITIONS, start, finish)
            if start == "claimed":
                how = ended or {"submitted": "answered", "skipped": "skipped"}.get(finish, "released")
                self._db.execute(
                    "UPDATE claim SET ended = ?, ended_by = ?, ended_at = ? WHERE suggestion_id = ? AND ended IS NULL",
                    [how, by, now, suggestion_id],
                )
            self._db.execute(
                "UPDATE suggestion SET state = ?, note = ?, skip_kind = ?, changed_at = ? WHERE id = ?",
                [finish, note[:500], skip_kind, now, suggestion_id],
            )
