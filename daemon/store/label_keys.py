"""Where accepted labels lie, read-only, for commands that look at the labels themselves."""

from __future__ import annotations

import sqlite3


def current_labels(db: sqlite3.Connection) -> list[str]:
    """Artifact keys of all current labels, oldest first."""
    sql = "SELECT artifact FROM label WHERE superseded_by IS NULL ORDER BY id"
    return [str(row[0]) for row in db.execute(sql)]
