"""The daemon's own row, problems, events and commands in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daemon.store.connection import insert, transaction

if TYPE_CHECKING:
    from sqlite_utils import Database

KEEP_EVENTS = 2000
KEEP_RENEWALS_S = 3600.0
SEEN_EVERY_S = 60.0
"""`problem.last_seen` is so exact while the words are the same."""


class State:
    """What is true of the service as a whole."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # the daemon

    def started(self, pid: int, version: str, now: float) -> None:
        """A daemon took the workspace."""
        row = {
            "id": 1,
            "state": "running",
            "pid": pid,
            "version": version,
            "started_at": now,
            "seen_at": now,
            "note": "",
        }
        with transaction(self._db):
            self._db.table("daemon").upsert(row, pk="id")

    def seen(self, now: float, note: str) -> None:
        """A sign of life."""
        with transaction(self._db):
            self._db.execute("UPDATE daemon SET seen_at = ?, note = ? WHERE id = 1", [now, note])

    def stopped(self, now: float) -> None:
        """The daemon let go of the workspace in good order."""
        with transaction(self._db):
            self._db.execute("UPDATE daemon SET state = 'stopped', seen_at = ? WHERE id = 1", [now])

    def pause(self, until: float | None) -> None:
        """Start no new work before `until` (seconds since the epoch); None resumes."""
        with transaction(self._db):
            self._db.execute("UPDATE daemon SET paused_until = ? WHERE id = 1", [until])

    def paused_until(self) -> float | None:
        """Until when no new work is started, or None."""
        row = next(self._db.query("SELECT paused_until FROM daemon WHERE id = 1"), None)
        return None if row is None else row["paused_until"]

    # problems: conditions that are true now

    def problem(self, kind: str, subject: str, message: str, now: float) -> bool:
        """Something is wrong; returns True when it was not known before. Told again in the same words within a minute, it
        changes nothing."""
        with transaction(self._db):
            new = not any(self._db.query("SELECT 1 FROM problem WHERE kind = ? AND subject = ?", [kind, subject]))
            self._db.execute(
                "INSERT INTO problem (kind, subject, message, first_seen, last_seen) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (kind, subject) DO UPDATE SET message = excluded.message, last_seen = excluded.last_seen"
                " WHERE message <> excluded.message OR ABS(last_seen - excluded.last_seen) >= ?",
                [kind, subject, message, now, now, SEEN_EVERY_S],
            )
        return new

    def solved(self, kind: str, subject: str) -> bool:
        """It is right again; returns True when it was wrong before."""
        with transaction(self._db):
            cursor = self._db.execute("DELETE FROM problem WHERE kind = ? AND subject = ?", [kind, subject])
            return bool(cursor.rowcount)

    def no_problems(self, kind: str) -> None:
        """Forget all problems of a kind: they are told afresh if they are still there."""
        with transaction(self._db):
            self._db.execute("DELETE FROM problem WHERE kind = ?", [kind])

    # events: what happened, for people

    def event(self, kind: str, message: str, now: float) -> None:
        """Remember something that people like to see scroll by; old ones are forgotten."""
        with transaction(self._db):
            pk = insert(self._db, "event", {"at": now, "kind": kind, "message": message})
            if pk % 100 == 0:
                self._db.execute("DELETE FROM event WHERE id <= ?", [pk - KEEP_EVENTS])

    # who pseudo-labels

    def pseudo_choice(self, by: str | None, why: str, now: float) -> None:
        """What `pseudo.backend = "auto"` chose, a backend or a version of a model, and why; None: config.toml says it. Told
        when it is another than before."""
        before = next(self._db.query("SELECT chosen, why FROM pseudo_choice"), None)
        if (by, why) == ((before["chosen"], before["why"]) if before else (None, "")):
            return
        with transaction(self._db):
            self._db.execute("DELETE FROM pseudo_choice")
            if by is not None:
                self._db.execute("INSERT INTO pseudo_choice (id, chosen, why, at) VALUES (1, ?, ?, ?)", [by, why, now])
                self.event("pseudo", f"new volumes are pseudo-labelled by {by}: {why}", now)

    # commands: what people asked for

    def command_outcome(self, command_id: str) -> tuple[bool, str] | None:
        """(ok, outcome) of a command that was carried out, or None."""
        row = next(self._db.query("SELECT ok, outcome FROM command WHERE id = ?", [command_id]), None)
        return None if row is None else (bool(row["ok"]), row["outcome"])

    def command_done(
        self, command_id: str, verb: str, arguments: Mapping[str, Any], ok: bool, outcome: str, now: float
    ) -> None:
        """Record the outcome; a command is carried out once."""
        row = {
            "id": command_id,
            "verb": verb,
            "arguments": json.dumps(dict(arguments)),
            "ok": int(ok),
            "outcome": outcome,
            "at": now,
        }
        with transaction(self._db):
            self._db.table("command").insert(row)
            # whoever annotates renews once a minute; an answer is read within seconds
            self._db.execute("DELETE FROM command WHERE verb = 'renew' AND at < ?", [now - KEEP_RENEWALS_S])
