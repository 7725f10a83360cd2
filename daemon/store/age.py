"""Is a database as this alscope expects it? Only reads."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from daemon.store.connection import import_sqlite_utils
from daemon.store.schema import migrations


def pending(connection: sqlite3.Connection) -> list[str]:
    """Names of the migrations that a database still lacks."""
    db = import_sqlite_utils().Database(connection)
    return [migration.name for migration in migrations().pending(db)]


def unknown(connection: sqlite3.Connection) -> list[str]:
    """Names of the migrations that a newer alscope has applied and this one does not know."""
    make = import_sqlite_utils().Database
    ours, db, empty = migrations(), make(connection), make(memory=True)
    known = {migration.name for migration in ours.pending(empty)}
    empty.close()
    return [migration.name for migration in ours.applied(db) if migration.name not in known]


def newer_words(path: Path, newer: list[str]) -> str:
    """What to say of a database that a newer alscope made."""
    return (
        f"{path}: a newer alscope made this database (it has {newer[-1]}), which this one would spoil; install that one again, or "
        "set `workspace` in config.toml to another folder"
    )
