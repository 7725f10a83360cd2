"""Jobs in SQL: wanted once, claimed once, every transition logged with it in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from alcore.run import STAGES, key_of, stage
from daemon.machine import JOB_TRANSITIONS, LONGEST_WAIT_S, check_transition
from daemon.store.connection import insert, transaction
from daemon.store.job_levels import GAVE_UP, OUTGROWN, PASSING, JobLevels
from daemon.store.rows import JobRow, Wanted, inputs_to_json
from daemon.store.training import Training

_COLUMNS = "id, key, stage, subject, volume_id, state, priority, inputs, params, attempts, fence, long, result"
REMEMBERED = 1000
"""Characters of JSON up to which a param or a result of a job on the whole pool is kept when it is done."""

OUTDATED = "outdated"
"""Kind of the cancellation of a job whose result nobody would look at any more."""

_READABLE = (
    "EXISTS (SELECT 1 FROM source_part l CROSS JOIN source x ON x.id = l.source_id WHERE l.volume_id = job.volume_id"
    " AND l.current = 1 AND x.state = 'ingested' AND x.gone = 0 AND x.away = 0)"
)
"""SQL: the volume of a job can be read now."""


def _row(r: Mapping[str, Any]) -> JobRow:
    return JobRow(
        id=r["id"],
        key=r["key"],
        stage=r["stage"],
        subject=r["subject"],
        volume_id=r["volume_id"],
        state=r["state"],
        priority=r["priority"],
        attempts=r["attempts"],
        fence=r["fence"],
        long=bool(r["long"]),
        stored=(r["inputs"], r["params"], r["result"] or "{}"),
    )


def _is_of_this_code(job: JobRow) -> bool:
    """Would a worker of now make the result that the job has its name from?"""
    return job.stage in STAGES and key_of(job.stage, job.inputs, job.params) == job.key


class Jobs(JobLevels):
    """The job table. States change through `_move` alone."""

    def want(self, wanted: Wanted, now: float) -> int | None:
        """Insert the job unless its recipe is known already; returns the id of a job that is new, or None.

        One that has not begun becomes as urgent as it is wanted now. One that was wanted under another spec before (config.toml
        says the same in other words now) counts for this one. One that was cancelled because of the state that its source was
        in is wanted again, where that lies now.
        """
        key = key_of(wanted.stage, wanted.inputs, wanted.params)
        with transaction(self._db):
            sql = f"SELECT id, state, spec, priority, {PASSING} AS passing FROM job WHERE key = ?"
            known = next(self._db.query(sql, [key]), None)
            if known is not None and not known["passing"]:
                if known["spec"] != wanted.spec:
                    self._db.execute("UPDATE job SET spec = ? WHERE id = ?", [wanted.spec, known["id"]])
                if known["priority"] != wanted.priority and known["state"] in ("waiting", "ready"):
                    sql = "UPDATE job SET priority = ? WHERE id = ?"
                    self._db.execute(sql, [wanted.priority, known["id"]])
                return None
            row = {
                "stage": wanted.stage,
                "spec": wanted.spec,
                "volume_id": wanted.volume_id,
                "subject": wanted.subject,
                "priority": wanted.priority,
                "long": int(stage(wanted.stage).long if wanted.long is None else wanted.long),
                "inputs": json.dumps(inputs_to_json(wanted.inputs)),
                "params": json.dumps(dict(wanted.params)),
            }
            if known is not None:
                again = {"attempts": 0, "error": "", "error_kind": "", "finished_at": None}
                self._move(known["id"], "ready", now, "wanted again", **row, **again)
                return int(known["id"])
            job_id = insert(self._db, "job", {"key": key, "state": "ready", "created_at": now, **row})
            self._log(job_id, now, "", "ready", "wanted")
            return job_id

    def get(self, job_id: int) -> JobRow | None:
        """One job, or None."""
        return next((_row(r) for r in self._db.query(f"SELECT {_COLUMNS} FROM job WHERE id = ?", [job_id])), None)

    def by_key(self, key: str) -> JobRow | None:
        """The job of one recipe, or None."""
        return next((_row(r) for r in self._db.query(f"SELECT {_COLUMNS} FROM job WHERE key = ?", [key])), None)

    def ready(self, limit: int, long: bool | None = None, stages: Collection[str] | None = None) -> list[JobRow]:
        """Jobs that may be claimed now (in a lane, of these stages, if that is said), most urgent first."""
        among = "" if stages is None else "AND stage IN (SELECT value FROM json_each(?))"
        sql = (
            f"SELECT {_COLUMNS} FROM job WHERE state = 'ready' AND long = COALESCE(?, long) {among}"
            " ORDER BY priority DESC, id LIMIT ?"
        )
        named = [] if stages is None else [json.dumps(sorted(stages))]
        return [_row(r) for r in self._db.query(sql, [None if long is None else int(long), *named, limit])]

    def outdated(self, stage: str, spec: str) -> list[JobRow]:
        """Jobs of a stage that have not begun and were wanted under another spec than this one."""
        sql = f"SELECT {_COLUMNS} FROM job WHERE stage = ? AND spec <> ? AND state IN ('waiting', 'ready')"
        return [_row(r) for r in self._db.query(sql, [stage, spec])]

    def not_done(self, stage: str) -> list[JobRow]:
        """Jobs of a stage that have not begun or that failed."""
        sql = (
            f"SELECT {_COLUMNS} FROM job WHERE stage = ? AND state IN ('waiting', 'ready', 'running') AND state <> 'running'"
            f" UNION ALL SELECT {_COLUMNS} FROM job WHERE stage = ? AND state IN ('failed', 'cancelled') AND state = 'failed'"
        )  # the first condition on the state is that of the index, job_unfinished and job_given_up
        return [_row(r) for r in self._db.query(sql, [stage, stage])]

    def running(self) -> list[JobRow]:
        """Jobs that a worker holds."""
        return [_row(r) for r in self._db.query(f"SELECT {_COLUMNS} FROM job WHERE state = 'running'")]

    def due(self, now: float) -> int:
        """Make every waiting job ready whose time has come; returns how many. One whose file was not there waits for it. A time that
        is farther away than any job has to wait was said by a clock that was set back since, and has come."""
        sql = (
            "SELECT id FROM job WHERE state = 'waiting' AND (not_before <= ? OR not_before > ?)"
            f" AND (error_kind <> 'source_missing' OR volume_id IS NULL OR {_READABLE})"
        )
        with transaction(self._db):
            ids = [r["id"] for r in self._db.query(sql, [now, now + LONGEST_WAIT_S])]
            for job_id in ids:
                self._move(job_id, "ready", now, "due")
        return len(ids)

    def claim(self, job_id: int, lease: str, now: float) -> JobRow:
        """Take a ready job for the worker that `lease` names; the fence grows with every claim."""
        with transaction(self._db):
            self._move(
                job_id,
                "running",
                now,
                lease,
                lease=lease,
                heartbeat=now,
                started_at=now,
                progress=0.0,
                note="",
                error="",
                error_kind="",
            )
            self._db.execute("UPDATE job SET fence = fence + 1, attempts = attempts + 1 WHERE id = ?", [job_id])
            job = self.get(job_id)
            assert job is not None
            return job

    def heartbeat(self, job_id: int, fence: int, progress: float, note: str, now: float) -> None:
        """Progress of a running job; a report of an earlier claim is ignored. Not worth an fsync of its own."""
        self._db.execute("PRAGMA synchronous=NORMAL")
        try:
            with transaction(self._db):
                self._db.execute(
                    "UPDATE job SET heartbeat = ?, progress = ?, note = ? WHERE id = ? AND fence = ? AND state = 'running'",
                    [now, min(1.0, max(0.0, progress)), note, job_id, fence],
                )
        finally:
            self._db.execute("PRAGMA synchronous=FULL")

    def done(self, job_id: int, result: Mapping[str, Any], now: float, note: str = "") -> None:
        """The artifact is published: the job is done."""
        with transaction(self._db):
            self._move(
                job_id, "done", now, note, lease=None, progress=1.0, finished_at=now, result=json.dumps(dict(result))
            )

    def forget(self, job_id: int) -> None:
        """What a finished job worked on is not needed any more: that of one on the whole pool is megabytes.

        Inputs go, and whatever is long among params and result; how many there were is kept. All is in its manifest.
        """
        job = self.get(job_id)
        assert job is not None and job.state == "done"
        counts = {f"inputs.{name}": len(items) for name, items in job.inputs.items()}
        kept = {}
        for what, values in (("params", job.params), ("result", job.result)):
            long = {name for name, value in values.items() if len(json.dumps(value)) > REMEMBERED}
            counts |= {f"{what}.{name}": len(values[name]) for name in long}
            kept[what] = {name: value for name, value in values.items() if name not in long}
        kept["params"]["forgotten"] = counts
        with transaction(self._db):
            sql = "UPDATE job SET inputs = '{}', params = ?, result = ? WHERE id = ?"
            self._db.execute(sql, [json.dumps(kept["params"]), json.dumps(kept["result"]), job_id])

    def failed(self, job_id: int, error: str, kind: str, now: float) -> None:
        """Trying again cannot help."""
        with transaction(self._db):
            self._move(job_id, "failed", now, error, lease=None, finished_at=now, error=error, error_kind=kind)

    def postponed(self, job_id: int, not_before: float, why: str, kind: str, now: float, spend: bool) -> None:
        """Back to waiting. spend: whether the attempt counts (a preemption or a full disk does not)."""
        with transaction(self._db):
            self._move(job_id, "waiting", now, why, lease=None, not_before=not_before, error=why, error_kind=kind)
            if not spend:
                self._db.execute("UPDATE job SET attempts = MAX(0, attempts - 1) WHERE id = ?", [job_id])

    def cancel(self, job_id: int, why: str, now: float, kind: str = "") -> None:
        """Nobody wants this any more. kind: of the error that its source is to blame for, if that is the reason."""
        with transaction(self._db):
            self._move(job_id, "cancelled", now, why, lease=None, finished_at=now, error_kind=kind)

    def withdraw(self, job_id: int, why: str, now: float) -> None:
        """Nobody wants this now. It counts for no spec any more, and is wanted again as soon as somebody does."""
        with transaction(self._db):
            self._move(job_id, "cancelled", now, why, lease=None, finished_at=now, error_kind="withdrawn", spec="")

    def unmake(self, suggestion_id: str, why: str, now: float) -> None:
        """A suggestion is taken back, and nothing in its place: what chose it counts no more, so that the same pool, when it is there
        again, is asked again. Suggestions are made at the moment at which their job is done."""
        sql = (
            "SELECT j.id FROM job j JOIN suggestion s ON s.created_at = j.finished_at WHERE s.id = ? AND j.stage = 'suggestions'"
            " AND j.state = 'done'"
        )
        for r in list(self._db.query(sql, [suggestion_id])):
            self.withdraw(r["id"], why, now)

    def retry(self, job_id: int, now: float) -> None:
        """A failed or cancelled job is to be tried again, with all its attempts."""
        with transaction(self._db):
            self._move(job_id, "ready", now, "tried again", error="", error_kind="", finished_at=None, attempts=0)

    def revive(self, stage: str, spec: str, now: float) -> int:
        """Jobs of this spec that were cancelled because it was outdated are wanted after all. Returns how many."""
        sql = f"SELECT id FROM job WHERE stage = ? AND spec = ? AND state = 'cancelled' AND error_kind = '{OUTDATED}'"
        found = [r["id"] for r in self._db.query(sql, [stage, spec])]
        for job_id in found:
            self.retry(job_id, now)
        return len(found)

    def recover(self, now: float) -> int:
        """At start, with the workspace lock held, every running row belongs to a daemon that is dead: take it back.

        Jobs that used up their attempts for passing reasons get new ones: what was in the way may have gone with the restart.
        But a pre-training that takes what is held out by now is withdrawn, so that one of what there is now can be planned.
        """
        with transaction(self._db):
            dead = self.running()
            for job in dead:
                self._move(job.id, "waiting", now, "the daemon that ran it is gone", lease=None, not_before=now)
                self._db.execute("UPDATE job SET attempts = MAX(0, attempts - 1) WHERE id = ?", [job.id])
            for row in list(self._db.query(f"SELECT {_COLUMNS} FROM job WHERE {GAVE_UP} AND NOT {OUTGROWN}")):
                job = _row(row)
                if job.stage == "pretrain" and Training(self._db).takes_held_out(job):
                    self.withdraw(job.id, "a patch of it is held out by now, or cannot be read", now)
                else:
                    self.retry(job.id, now)
        return len(dead)

    def withdraw_of_other_code(self, now: float) -> int:
        """At start, with the workspace lock held: take back what an alscope of another version wanted and this one makes otherwise.
        Its workers would make a result that nobody looks for, and the one that is wanted now is planned beside it. Returns how many.
        """
        sql = f"SELECT {_COLUMNS} FROM job WHERE state IN ('waiting', 'ready', 'running') OR {GAVE_UP} ORDER BY id"
        with transaction(self._db):
            other = [job.id for job in map(_row, self._db.query(sql)) if not _is_of_this_code(job)]
            for job_id in other:
                self.withdraw(job_id, "another version of alscope wanted it, and this one makes it otherwise", now)
        return len(other)

    def story(self, job_id: int) -> list[str]:
        """Every transition of a job in words, oldest first."""
        rows = self._db.query("SELECT start, finish, note FROM job_event WHERE job_id = ? ORDER BY id", [job_id])
        return [f"{r['start'] or 'new'} -> {r['finish']}" + (f" ({r['note']})" if r["note"] else "") for r in rows]

    def last_words(self, job_id: int) -> str:
        """Why a job is in the state that it is in."""
        sql = "SELECT note FROM job_event WHERE job_id = ? ORDER BY id DESC LIMIT 1"
        return str(next(self._db.query(sql, [job_id]))["note"])

    def _move(self, job_id: int, finish: str, now: float, why: str, /, **columns: Any) -> None:
        start = next(self._db.query("SELECT state FROM job WHERE id = ?", [job_id]))["state"]
        if (start, finish) not in JOB_TRANSITIONS:
            check_transition(f"job {job_id}", JOB_TRANSITIONS, start, finish, self.story(job_id))
        self._db.table("job").update(job_id, {"state": finish, **columns})
        self._log(job_id, now, start, finish, why)

    def _log(self, job_id: int, now: float, start: str, finish: str, note: str) -> None:
        self._db.table("job_event").insert(
            {"job_id": job_id, "at": now, "start": start, "finish": finish, "note": note[:500]}
        )
