"""Questions about labels that more than one room asks: where they lie, and whether a round has seen them. Read-only."""

from __future__ import annotations

import sqlite3


def current_labels(db: sqlite3.Connection) -> list[str]:
    """Artifact keys of all current labels, oldest first."""
    sql = "SELECT artifact FROM label WHERE superseded_by IS NULL ORDER BY id"
    return [str(row[0]) for row in db.execute(sql)]


IN_A_ROUND = "EXISTS (SELECT 1 FROM round_label r WHERE r.label_id = l.id)"
"""SQL: label `l` was there when some round was opened, whatever became of that."""
SEEN = "EXISTS (SELECT 1 FROM round_label r JOIN round o ON o.number = r.round WHERE r.label_id = l.id AND o.state <> 'failed')"
"""SQL: a round learned from label `l`, or is about to. One that ended without a model learned from nothing."""
