"""Names of what is there, read-only and quick: what the shell completes, and what a misspelt name may have meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from daemon.store.connection import FULL_NAME

MOST = 5000
"""So many names are enough for anybody: the newest."""


def suggestions(db: sqlite3.Connection, states: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(id, state and volume) of the suggestions in these states, or in all, newest first."""
    return _pairs(
        db,
        f"SELECT s.id AS name, s.state || ', ' || {FULL_NAME} AS said FROM suggestion s"
        f" JOIN patch p ON p.id = s.patch_id JOIN volume v ON v.id = p.volume_id{_in('s.state', states)}"
        " ORDER BY s.created_at DESC, s.id",
        states,
    )


def held_back(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(id, reason) of the patches in the QC queue."""
    return _pairs(
        db, "SELECT printf('q%05d', patch_id) AS name, reason AS said FROM qc WHERE state = 'held' ORDER BY score DESC"
    )


def jobs(db: sqlite3.Connection, states: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(number, state and stage) of the jobs in these states, or in all, newest first."""
    return _pairs(
        db,
        "SELECT CAST(id AS TEXT) AS name, state || ', ' || stage AS said FROM job"
        f"{_in('state', states)} ORDER BY id DESC",
        states,
    )


def models(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(version, state) of the models, newest first."""
    return _pairs(db, "SELECT version AS name, state AS said FROM model ORDER BY id DESC")


def volumes(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(name, "") of the volumes, newest first."""
    return _pairs(db, f"SELECT {FULL_NAME} AS name, '' AS said FROM volume v ORDER BY v.id DESC")


def _in(column: str, states: Sequence[str]) -> str:
    return f" WHERE {column} IN ({', '.join('?' * len(states))})" if states else ""


def _pairs(db: sqlite3.Connection, query: str, states: Sequence[str] = ()) -> list[tuple[str, str]]:
    return [(r["name"], r["said"]) for r in db.execute(f"{query} LIMIT {MOST}", list(states))]
