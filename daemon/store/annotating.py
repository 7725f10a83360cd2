"""What waits for people at the annotation window, in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database


class Annotating:
    """Read-only questions about suggestions."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def waiting(self) -> list[tuple[str, str]]:
        """(id, key of its package) of every suggestion that has a folder and no answer, the next one first."""
        sql = (
            "SELECT id, package FROM suggestion WHERE state IN ('open', 'claimed', 'rejected') AND package IS NOT NULL"
            " ORDER BY rank"
        )
        return [(r["id"], r["package"]) for r in self._db.query(sql)]
