"""Counts and keys of jobs in SQL: the levels that planning looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

PASSING = "(state = 'cancelled' AND error_kind IN ('source_changed', 'source_missing', 'part_of_set', 'withdrawn'))"
"""SQL: cancelled for a reason that lies in the source, or in the model that was promoted, and may pass."""

GAVE_UP = "(state = 'failed' AND error_kind IN ('transient', 'source_missing', 'missing_extra'))"
"""SQL: all attempts were used up for passing reasons: killed workers, a device that was busy, a package not installed."""

OUTGROWN = (
    "((stage = 'finetune' AND subject <> COALESCE((SELECT 'round:' || MAX(number) FROM round), subject)) OR"
    " (stage = 'pretrain' AND EXISTS (SELECT 1 FROM job later WHERE later.stage = 'pretrain' AND later.spec = job.spec"
    " AND later.id > job.id AND later.state = 'done')))"
)
"""SQL: the training of a round after which another one was opened, with its labels and newer ones; or a pre-training for data
for which a later one made a model."""


@dataclass(frozen=True)
class GaveUp:
    """A job that used up its attempts for passing reasons. at: when, in seconds since the epoch. failures: how often by now."""

    job_id: int
    at: float
    failures: int


class JobLevels:
    """Read-only questions about the job table."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def states(self, stage: str, subject: str) -> list[tuple[int, str]]:
        """(id, state) of all jobs of one stage for one subject, oldest first."""
        sql = "SELECT id, state FROM job WHERE stage = ? AND subject = ? ORDER BY id"
        return [(r["id"], r["state"]) for r in self._db.query(sql, [stage, subject])]

    def passed(self, job_id: int) -> bool:
        """Was this job cancelled because of the state of its sources, and by nobody?"""
        return any(self._db.query(f"SELECT 1 FROM job WHERE id = ? AND {PASSING}", [job_id]))

    def gave_up(self, job_id: int) -> bool:
        """Did this job fail for a reason that may pass?"""
        return any(self._db.query(f"SELECT 1 FROM job WHERE id = ? AND {GAVE_UP}", [job_id]))

    def given_up_at(self, job_id: int) -> GaveUp | None:
        """When this job failed for a reason that may pass, and how often it did; None where it did not fail so."""
        sql = (
            "SELECT id AS job_id, finished_at AS at, (SELECT COUNT(*) FROM job_event e WHERE e.job_id = job.id"
            f" AND e.finish = 'failed') AS failures FROM job WHERE id = ? AND {GAVE_UP}"
        )
        return next((GaveUp(**r) for r in self._db.query(sql, [job_id])), None)

    def spec(self, job_id: int) -> str:
        """What a job was wanted under last; of a pre-training: the kind of its data."""
        return str(next(self._db.query("SELECT spec FROM job WHERE id = ?", [job_id]))["spec"])

    def outgrown(self, job_id: int) -> bool:
        """Is this a training whose data a later one has: of a round before the newest, or for a kind that has its model?"""
        return any(self._db.query(f"SELECT 1 FROM job WHERE id = ? AND {OUTGROWN}", [job_id]))

    def of_stage(self, stage: str) -> list[tuple[str, str]]:
        """(subject, state) of all jobs of one stage, oldest first."""
        sql = "SELECT subject, state FROM job WHERE stage = ? ORDER BY id"
        return [(r["subject"], r["state"]) for r in self._db.query(sql, [stage])]

    def known(self, stage: str, spec: str) -> bool:
        """Was a job of this stage and spec ever wanted (and not cancelled because of the state of its sources)?"""
        sql = f"SELECT 1 FROM job WHERE stage = ? AND spec = ? AND NOT {PASSING} LIMIT 1"
        return any(self._db.query(sql, [stage, spec]))

    def n_ready(self, stage: str, spec: str) -> int:
        """How many jobs of a stage and spec may be claimed now."""
        sql = (
            "SELECT COUNT(*) AS n FROM job WHERE stage = ? AND spec = ? AND state IN ('waiting', 'ready', 'running')"
            " AND state = 'ready'"
        )  # the first condition on the state is that of the index job_unfinished
        return int(next(self._db.query(sql, [stage, spec]))["n"])

    def active(self, stage: str, long: bool | None = None) -> int:
        """How many jobs of a stage (in one lane, if that is said) are waiting, ready or running."""
        sql = (
            "SELECT COUNT(*) AS n FROM job WHERE stage = ? AND state IN ('waiting', 'ready', 'running')"
            " AND long = COALESCE(?, long)"
        )
        return int(next(self._db.query(sql, [stage, None if long is None else int(long)]))["n"])

    def n_volumes_with(self, stage: str, spec: str) -> int:
        """How many volumes have a job of a stage and spec, in whatever state."""
        sql = "SELECT COUNT(DISTINCT volume_id) AS n FROM job WHERE stage = ? AND spec = ?"
        return int(next(self._db.query(sql, [stage, spec]))["n"])

    def given_up(self, stage: str, spec: str) -> list[int]:
        """Volumes whose job of a stage and spec failed or was cancelled."""
        sql = "SELECT volume_id FROM job WHERE state IN ('failed', 'cancelled') AND stage = ? AND spec = ?"
        return [r["volume_id"] for r in self._db.query(sql, [stage, spec])]

    def failed_with_model(self, stage: str, spec: str) -> list[int]:
        """Volumes whose only job of a stage and spec was given a model and failed."""
        sql = (
            "SELECT f.volume_id FROM job f WHERE f.state IN ('failed', 'cancelled') AND f.stage = ? AND f.spec = ?"
            " AND f.state = 'failed' AND json_array_length(f.inputs, '$.model') > 0 AND NOT EXISTS"
            " (SELECT 1 FROM job o WHERE o.stage = f.stage AND o.spec = f.spec AND o.volume_id = f.volume_id AND o.id <> f.id)"
        )
        return [r["volume_id"] for r in self._db.query(sql, [stage, spec])]

    def n_done(self, stage: str, spec: str) -> int:
        """How many volumes have a finished job of a stage and spec."""
        sql = "SELECT COUNT(DISTINCT volume_id) AS n FROM job WHERE stage = ? AND spec = ? AND state = 'done'"
        return int(next(self._db.query(sql, [stage, spec]))["n"])

    def active_with_spec(self, stage: str, spec: str) -> int:
        """How many jobs of a stage and spec are waiting, ready or running; not those that wait for a file to come back."""
        sql = (
            "SELECT COUNT(*) AS n FROM job WHERE stage = ? AND spec = ? AND state IN ('waiting', 'ready', 'running')"
            " AND NOT (state = 'waiting' AND error_kind = 'source_missing')"
        )
        return int(next(self._db.query(sql, [stage, spec]))["n"])

    def of_volume(self, stage: str, spec: str, volume_id: int) -> tuple[str, str]:
        """(state, key) of the job of a stage and spec for one volume; ("", "") when there is none."""
        sql = "SELECT state, key FROM job WHERE stage = ? AND spec = ? AND volume_id = ? ORDER BY id DESC LIMIT 1"
        return next(((r["state"], r["key"]) for r in self._db.query(sql, [stage, spec, volume_id])), ("", ""))

    def done_by_volume(self, stage: str, spec: str) -> dict[int, str]:
        """Finished jobs of a stage and spec: volume id -> artifact key."""
        sql = "SELECT volume_id, key FROM job WHERE stage = ? AND spec = ? AND state = 'done' ORDER BY volume_id"
        return {r["volume_id"]: r["key"] for r in self._db.query(sql, [stage, spec])}
