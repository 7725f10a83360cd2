"""Read-only: the newest alarms with what became of them, and the run that was declared."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AlarmView:
    """An alarm. lasting: it is (or was) a condition; ended_at: None while that is true; told: by way out, "waiting", "told" or
    "given up", with what went wrong."""

    id: int
    kind: str
    subject: str
    message: str
    raised_at: float
    lasting: bool
    ended_at: float | None
    told: Mapping[str, str]


@dataclass(frozen=True)
class ExpectView:
    """The declared run: since when, a file at least every so many seconds, until when (None: until it is revoked)."""

    since: float
    every_s: float
    until: float | None


def alarms(db: sqlite3.Connection, limit: int) -> tuple[AlarmView, ...]:
    """The newest, newest first."""
    rows = db.execute("SELECT * FROM alarm ORDER BY id DESC LIMIT ?", [limit]).fetchall()
    if not rows:
        return ()
    told: dict[int, dict[str, str]] = {}
    for number, channel, state, error in db.execute(
        "SELECT alarm_id, channel, state, error FROM alarm_delivery WHERE alarm_id >= ?", [rows[-1]["id"]]
    ):
        told.setdefault(number, {})[channel] = f"{state}: {error}" if error and state != "told" else state
    return tuple(
        AlarmView(
            id=r["id"],
            kind=r["kind"],
            subject=r["subject"],
            message=r["message"],
            raised_at=r["raised_at"],
            lasting=bool(r["lasting"]),
            ended_at=r["ended_at"],
            told=told.get(r["id"], {}),
        )
        for r in rows
    )


def expected(db: sqlite3.Connection) -> ExpectView | None:
    """The run that was declared, or None."""
    row = db.execute("SELECT since, every_s, until FROM expectation").fetchone()
    return None if row is None else ExpectView(row["since"], row["every_s"], row["until"])
