"""How jobs end: done, postponed, given up, failed; and what an acquisition that is not what it seemed means for its source."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alcore.artifact import ArtifactStore, read_manifest
from alcore.errors import AlcoreError
from alcore.run import stage
from daemon.executors.port import ORDER, Finished, Places
from daemon.ingest import Ingest
from daemon.policy import backoff_s
from daemon.results import Results
from daemon.results_selection import Failure
from daemon.store.rows import JobRow
from daemon.store.store import Store

log = logging.getLogger("alscope.engine")

FIND_ATTEMPTS = 5
"""An acquisition that is not found is looked for so often, for about three minutes, before it is set aside."""


@dataclass(frozen=True)
class Endings:
    """Every end of a job is one transaction. ingest: the scan, to be told of what has to settle afresh; None in tests."""

    store: Store
    places: Places
    artifacts: ArtifactStore
    results: Results
    ingest: Ingest | None

    def finished(self, event: Finished, now: float, asked: str = "") -> None:
        """A worker reports the end of a job. asked: why it was asked to stop, if it was."""
        job = self.store.jobs.get(event.job_id)
        if job is None or job.state != "running" or job.fence != event.fence:
            return  # a worker that was given up reports late
        if event.outcome == "done":
            self.done(job, now)
        elif event.outcome == "preempted":
            self.store.jobs.postponed(job.id, now, asked or "stopped", "preempted", now, False)
        elif event.kind == "source_changed":
            self._source_changed(job, event, now)
        elif event.kind == "part_of_set" and job.stage == "volume":
            self._part_of_set(job, event, now)
        elif event.kind == "source_missing" and job.volume_id and self.store.volumes.get(job.volume_id) is None:
            self.store.jobs.postponed(job.id, now + 60, event.error, event.kind, now, False)  # gone, or out of reach
        elif event.kind == "cluster":  # nothing ran, or nobody knows what became of it
            self.store.jobs.postponed(job.id, now + 2, event.error, event.kind, now, False)
        elif event.kind == "disk_full":
            self.store.jobs.postponed(job.id, now + 10, f"disk full: {event.error}", event.kind, now, False)
        elif event.kind == "source_missing" and self._gives_up(job):
            self.store.jobs.cancel(job.id, event.error, now, event.kind)  # wanted again when it can be read again
        elif event.outcome == "lost" and self._got_further(job):
            self.store.jobs.postponed(job.id, now + backoff_s(job.attempts), event.error, event.kind, now, False)
        elif event.kind in ("transient", "source_missing") and job.attempts < self._most_attempts(job, event.kind):
            self.store.jobs.postponed(job.id, now + backoff_s(job.attempts), event.error, event.kind, now, True)
            if event.kind == "source_missing" and self.ingest is not None:
                self.ingest.wake()  # the scan tells whether it is gone, or its folder out of reach
        else:
            self._failed(job, event.error, event.kind, now, event.detail)

    def _most_attempts(self, job: JobRow, kind: str) -> int:
        """A folder that cannot be reached is noticed by a scan of all folders, which takes its time."""
        return FIND_ATTEMPTS if kind == "source_missing" and job.stage == "volume" else stage(job.stage).max_attempts

    def _got_further(self, job: JobRow) -> bool:
        """Was a checkpoint written since the worker that was lost took the order? Then the next one begins further on.

        Both times are those of the file system, so that a clock that was set meanwhile does no harm.
        """
        folder, name = self.places.job(job.id), stage(job.stage).checkpoint
        try:
            return bool(name) and (folder / "scratch" / name).stat().st_mtime_ns > (folder / ORDER).stat().st_mtime_ns
        except OSError:
            return False

    def _gives_up(self, job: JobRow) -> bool:
        """Is a file that was not found out of reach for longer, so that a job on it is to be planned anew when it is back?"""
        if job.stage == "volume":
            return not self.store.sources.is_there(path_in(job))
        return job.volume_id is None and job.stage != "label" and job.attempts >= stage(job.stage).max_attempts

    def _part_of_set(self, job: JobRow, event: Finished, now: float) -> None:
        """A file turned out to be one of several that make up an acquisition (or, no members: to be one no longer)."""
        owner = os.fsencode(str(event.detail["owner"]))
        members: tuple[str, ...] | None = tuple(str(name) for name in event.detail["members"]) or None
        with self.store.transaction():
            self.store.jobs.cancel(job.id, event.error, now, event.kind)
            found = self.store.sources.at(path_in(job))
            source = None if found is None else self.store.sources.source(found)
            if source is None:
                return  # another file said before that this one is part of its set
            if members is None:
                self.store.sources.dissolve_set(source.id)
            else:
                members = self.store.sources.make_set(owner, source.watch, members, owner != path_in(job), now)
        if self.ingest is not None:
            self.ingest.set_members(owner, members)

    def _source_changed(self, job: JobRow, event: Finished, now: float) -> None:
        """An acquisition changed while it was read: it arrives again. The job waits for it, or is planned anew."""
        path = path_in(job) if job.stage == "volume" else os.fsencode(str(event.detail.get("path", "")))
        with self.store.transaction():
            source = self.store.sources.at(path)
            if source is not None:
                self.store.sources.arrive_again(source)
            if job.volume_id is not None:
                self.store.jobs.postponed(job.id, now + 5, event.error, "source_missing", now, False)
            elif job.stage == "label":
                self._failed(job, event.error, event.kind, now)
            else:
                self.store.jobs.cancel(job.id, event.error, now, event.kind)
        if source is not None and self.ingest is not None:
            self.ingest.forget(path)

    def done(self, job: JobRow, now: float, note: str = "") -> None:
        """The artifact is published; the job and everything that follows from it become true together."""
        try:
            manifest = read_manifest(self.artifacts.path(job.key))
        except AlcoreError as e:
            self._failed(job, str(e), e.kind, now)
            return
        size = sum(int(f["bytes"]) for f in manifest.files.values())
        try:
            with self.store.transaction():
                self.store.learning.add_artifact(job.key, job.stage, size, manifest.seconds, now)
                self.store.jobs.done(job.id, manifest.result, now, note)
                self.results.done(job, manifest.result, now)
        except (LookupError, ValueError, TypeError, sqlite3.IntegrityError) as e:
            log.exception("the result of job %d cannot be used", job.id)
            self._failed(job, f"its result cannot be used: {type(e).__name__}: {e}", "defect", now)
            return

    def _failed(self, job: JobRow, error: str, kind: str, now: float, detail: Mapping[str, Any] | None = None) -> None:
        words = error or "failed without a word; see its log"
        with self.store.transaction():
            self.store.jobs.failed(job.id, words, kind, now)
            self.results.failed(job, Failure(words, kind, detail or {}), now)


def path_in(job: JobRow) -> bytes:
    """The acquisition that a job of the stage `volume` reads."""
    return os.fsencode(str(job.inputs["source"][0].path))
