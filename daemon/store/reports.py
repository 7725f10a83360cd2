"""What was reported and what is to be, in SQL: rounds that ended, maps and reports that were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

STAGES = ("latent_map", "gate_pictures", "report")
"""Of each only the newest is kept."""


@dataclass(frozen=True)
class Made:
    """A finished job of one of `STAGES`. at: seconds since the epoch."""

    job: int
    key: str
    subject: str
    at: float


class Reports:
    """Read-only questions, cheap enough for every tick."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def newest_ended_round(self) -> tuple[int, float] | None:
        """(number, when) of the newest round, if it has ended, with a model: one that failed may be taken up again."""
        sql = "SELECT number, state, finished_at FROM round ORDER BY number DESC LIMIT 1"
        found = next(self._db.query(sql), None)
        return None if found is None or found["state"] != "done" else (found["number"], found["finished_at"])

    def newest(self, stage: str, spec: str = "") -> Made | None:
        """The newest result of a stage that is there (of a spec, if one is named)."""
        sql = (
            "SELECT id AS job, key, subject, finished_at AS at FROM job WHERE stage = ? AND state = 'done'"
            " AND (? = '' OR spec = ?) ORDER BY finished_at DESC, id DESC LIMIT 1"
        )
        return next((Made(**r) for r in self._db.query(sql, [stage, spec, spec])), None)

    def older(self) -> list[Made]:
        """Results of these stages that newer ones have replaced."""
        found = []
        for stage in STAGES:
            newest = self.newest(stage)
            sql = "SELECT id AS job, key, subject, finished_at AS at FROM job WHERE stage = ? AND state = 'done' AND id <> ?"
            found += [Made(**r) for r in self._db.query(sql, [stage, newest.job])] if newest else []
        return found
