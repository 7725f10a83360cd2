"""Is a database as this alscope expects it? Only reads."""

from __future__ import annotations

import sqlite3

from daemon.store.connection import import_sqlite_utils
from daemon.store.schema import migrations


def pending(connection: sqlite3.Connection) -> list[str]:
    """Names of the migrations that a database still lacks."""
    db = import_sqlite_utils().Database(connection)
    return [migration.name for migration in migrations().pending(db)]
