"""Segmentations that a better one has replaced, in SQL: which there are, and that they are there no more."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.store.connection import transaction
from daemon.store.jobs import Jobs

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class Outgrown:
    """The artifact of a segmentation that nobody looks at. job: that made it. model: None where its model segmented the volume
    again, in another way."""

    job: int
    artifact: str
    volume_id: int
    model: str | None


class OutgrownSegmentations:
    """What is shown in predictions/ is never among them, whichever model it is of."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of_models_but(self, kept: Collection[str], limit: int) -> list[Outgrown]:
        """By any other model than these, and not shown; oldest first."""
        sql = (
            "SELECT j.id AS job, p.artifact, p.volume_id, p.model FROM prediction p JOIN job j ON j.key = p.artifact"
            " JOIN model m ON m.version = p.model WHERE p.published = 0 AND m.state <> 'promoted' AND j.state = 'done'"
            " AND p.model NOT IN (SELECT value FROM json_each(?)) ORDER BY j.id LIMIT ?"
        )
        return [Outgrown(**r) for r in self._db.query(sql, [json.dumps(sorted(kept)), limit])]

    def replaced(self, before: float, limit: int) -> list[Outgrown]:
        """Made before then, and replaced by a segmentation by the same model in another way; oldest first."""
        sql = (
            "SELECT j.id AS job, j.key AS artifact, j.volume_id, NULL AS model FROM job j WHERE j.stage = 'predict'"
            " AND j.state = 'done' AND j.finished_at < ? AND j.key NOT IN (SELECT artifact FROM prediction) ORDER BY j.id LIMIT ?"
        )
        return [Outgrown(**r) for r in self._db.query(sql, [before, limit])]

    def cleared(self, one: Outgrown, why: str, now: float) -> None:
        """Its files are gone: it is made again once it is wanted again."""
        with transaction(self._db):
            self._db.execute(
                "DELETE FROM prediction WHERE volume_id = ? AND artifact = ?", [one.volume_id, one.artifact]
            )
            Jobs(self._db).withdraw(one.job, why, now)
            self._db.execute("UPDATE artifact SET cleared_at = ? WHERE key = ?", [now, one.artifact])
