"""What the workspace takes, read from the database."""

from __future__ import annotations

import json
import sqlite3

from daemon.store.views import RoomView


def room_view(db: sqlite3.Connection) -> RoomView | None:
    """What was measured last; None before that."""
    row = db.execute("SELECT kinds, budget_bytes, at FROM room").fetchone()
    return None if row is None else RoomView(json.loads(row[0]), int(row[1]), float(row[2]))
