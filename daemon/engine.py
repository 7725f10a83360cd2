"""The one place where state changes: events in, planning from levels, jobs out to the executor, results back into the store."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alcore.run import STAGES, stage
from alcore.stage import Input
from daemon import commands
from daemon.arrival import Arriving, Gone, Identified, Reachable, Settled
from daemon.config import Settings
from daemon.disk import free_gb
from daemon.endings import Endings
from daemon.executors.port import Executor, Finished, Order, Progress
from daemon.files import Files, set_aside
from daemon.ingest import Ingest
from daemon.planner import Planner
from daemon.planning import Planning
from daemon.policy import to_preempt
from daemon.results import Results, printable
from daemon.store.rows import JobRow, path_of
from daemon.store.store import Store
from daemon.walk import INBOX
from daemon.workspace import Workspace

log = logging.getLogger("alscope.engine")

LABEL_SUFFIXES = (".tif", ".tiff")
LONG = tuple(name for name in STAGES if stage(name).long)
SMALL = tuple(name for name in STAGES if not stage(name).long)
PREEMPTIBLE = {name: stage(name).preemptible for name in STAGES}


@dataclass
class Engine:
    """Handles events and plans; every method runs in one thread. `clock` gives seconds since the epoch."""

    settings: Settings
    workspace: Workspace
    store: Store
    executor: Executor
    device: str
    threads: int
    lease: str
    clock: Callable[[], float]
    ingest: Ingest | None = None
    asked_to_stop: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        planner = Planner(self.settings, self.device, self.workspace.artifacts.path, self.workspace.root)
        self.planning = Planning(self.store, planner, self.settings)
        self.results = Results(self.store, self.settings)
        self.endings = Endings(self.store, self.workspace.artifacts, self.results, self.ingest)
        self.files = Files(self.store, self.workspace)

    def start(self) -> None:
        """Take over what a former daemon left: its running jobs wait again, its half-written artifacts go."""
        recovered = self.store.jobs.recover(self.clock())
        self.workspace.artifacts.clean_staging()
        if recovered:
            self.store.state.event("daemon", f"{recovered} interrupted jobs taken up again", self.clock())
        self.store.sources.assign([watch.folder for watch in self.settings.watch])
        self.store.state.no_problems("folder")  # the first scan tells what cannot be reached now
        for source in self.store.sources.unusable():
            if self.store.jobs.by_key(self.planning.key(self.planning.planner.volume(source))) is None:
                self.store.sources.look_again(source.id)  # config.toml answers differently now

    # events

    def handle(self, event: Any) -> None:
        """One event from the ingest, the executor or a timer."""
        if is_sighting(event):
            self.sightings([event])
        elif isinstance(event, Settled):
            self._label_arrived(path_of(event.path))
        elif isinstance(event, Reachable):
            self._folder_changed(event)
        elif isinstance(event, Identified):
            self.store.sources.identify(event.folder, event.identity)
        elif isinstance(event, Progress):
            self.store.jobs.heartbeat(event.job_id, event.fence, event.fraction, event.note, self.clock())
        elif isinstance(event, Finished):
            self.asked_to_stop.discard(event.job_id)
            self.endings.finished(event, self.clock())

    def sightings(self, events: Sequence[Arriving | Settled | Gone]) -> None:
        """What the scan saw of acquisitions, in one transaction however many they are."""
        now = self.clock()
        events = [
            e for e in events if self.ingest is None or not self.ingest.is_apart(e.path)
        ]  # said before it was a set
        forgotten = []
        with self.store.transaction():
            for event in events:
                if isinstance(event, Settled):
                    self.store.sources.settled(event, now)
                elif isinstance(event, Gone):
                    if self.store.sources.set_gone(event.path, event.gone):
                        forgotten.append(event.path)
                elif event.watch != INBOX:
                    self.store.sources.arriving(event, now)
        if self.ingest is not None:
            for event in events:
                if isinstance(event, Settled):
                    self.ingest.acknowledge(event.path, event.fingerprint)
            for path in forgotten:
                self.ingest.set_members(path, None)

    def _folder_changed(self, event: Reachable) -> None:
        """What was read from a folder that cannot be reached is not gone: it waits, and goes on when the folder is back."""
        subject = printable(str(event.folder))
        n = self.store.sources.set_away(os.fsencode(event.folder), bool(event.error))
        if event.error:
            waiting = f"{n} acquisition{'s' if n != 1 else ''} in it can wait" if n else "nothing in it was read yet"
            text = f"{subject}: cannot be reached ({event.error}); {waiting}, it is tried again"
            if self.store.state.problem("folder", subject, text, self.clock()):
                self.store.state.event("folder", text, self.clock())
        elif self.store.state.solved("folder", subject):
            self.store.state.event("folder", f"{subject}: the folder is back", self.clock())

    # labels

    def _label_arrived(self, path: Path) -> None:
        """A file in the inbox is whole: take it if it answers a suggestion, set it aside with the reason if not."""
        suggestion_id = path.name.removesuffix(".tiff").removesuffix(".tif")
        suggestion = self.store.annotation.suggestion(suggestion_id)
        reason = ""
        if path.suffix.lower() not in LABEL_SUFFIXES:
            reason = f"{printable(path.name)}: labels are TIFF files named <suggestion>.tif; export it as TIFF"
        elif suggestion is None:
            reason = (
                f"{printable(path.name)}: there is no suggestion {printable(suggestion_id)!r}; "
                "`alscope queue` lists the names to use"
            )
        elif path.stat().st_size > self.settings.inbox.max_gb * 1e9:
            reason = f"{printable(path.name)}: larger than inbox.max_gb = {self.settings.inbox.max_gb:g}; not a label?"
        elif suggestion.package is None or suggestion.state == "submitted":
            return  # its turn comes: the ingest reports the file again
        if reason:
            set_aside(path, path.name, reason, self.workspace.rejected)
            self.store.state.event("label", f"rejected: {reason}", self.clock())
            return
        assert suggestion is not None
        note = commands.label_note(self.workspace, suggestion_id)
        digest = _sha256(path)
        self.store.annotation.receive(
            suggestion, os.fsencode(path), digest, bool(note.get("empty")), str(note.get("user", "")), self.clock()
        )
        commands.drop_label_note(self.workspace, suggestion_id)

    # planning and dispatch

    def tick(self) -> None:
        """Bring everything in line: commands, timers of jobs, files for people, wanted jobs, free workers."""
        now = self.clock()
        commands.obey(self, now)
        self.store.jobs.due(now)
        self.files.reconcile()
        with self.store.transaction():  # one write to the disk, however many jobs
            for wanted in self.planning.wanted(now):
                self.store.jobs.want(wanted, now)
        self._settle_known_recipes(now)
        self._cancel_outdated(now)
        self._dispatch(now)

    def _settle_known_recipes(self, now: float) -> None:
        """Sources whose recipe was run before (a hard link, a restart at a bad moment): use what is there."""
        for source, wanted in self.planning.readings():
            job = self.store.jobs.by_key(self.planning.key(wanted))
            if job is None:
                continue
            job = replace(job, subject=wanted.subject)
            if job.state == "done":
                with self.store.transaction():
                    self.results.done(job, job.result, now)
            elif job.state == "failed":
                self.results.set_aside(source, source.fingerprint, job, self.planning.error(job.id), now)
            elif job.state == "cancelled":
                words = f"{job.inputs['source'][0].path}: its reading was {self.planning.error(job.id)}"
                text = f"{words}; `alscope jobs retry {job.id}` reads it after all"
                self.results.set_aside(source, source.fingerprint, job, text, now)

    def _cancel_outdated(self, now: float) -> None:
        """Predictions that an older model was still to make are not wanted any more."""
        promoted = self.store.learning.promoted()
        if promoted is not None:
            for job in self.store.jobs.outdated("predict", self.planning.planner.predict_spec(promoted)):
                self.store.jobs.cancel(job.id, f"{promoted.version} was promoted", now)

    def _dispatch(self, now: float) -> None:
        """Claim what is ready for the workers that are free."""
        if self._held_back(now):
            return
        for long, stages in ((False, SMALL), (True, LONG)):
            for job in self.store.jobs.ready(stages, limit=64):
                if self.workspace.artifacts.has(job.key):
                    self.endings.done(job, now, "made before")
                elif self.executor.free(long):
                    self._start(job, long, now)
                else:
                    if long:
                        self._make_room(job)
                    break

    def _held_back(self, now: float) -> bool:
        """Paused by a person, or the disk is nearly full: nothing new is started."""
        until = self.store.state.paused_until()
        if until is not None and now >= until:
            self.store.state.pause(None)
            until = None
        free = free_gb(self.workspace.root)
        if free < self.settings.run.min_free_gb:
            text = (
                f"{self.workspace.root}: {free:.1f} GB free, run.min_free_gb = {self.settings.run.min_free_gb:g}: "
                "no new work until there is room; free some space"
            )
            if self.store.state.problem("disk", "workspace", text, now):
                self.store.state.event("disk", text, now)
            return True
        if self.store.state.solved("disk", "workspace"):
            self.store.state.event("disk", "there is room on the disk again", now)
        return until is not None

    def _start(self, job: JobRow, long: bool, now: float) -> None:
        inputs = self._located(job)
        if inputs is None:
            self.store.jobs.postponed(
                self._claim(job, now).id, now + 60, "its volume cannot be read now", "source_missing", now, False
            )
            return
        claimed = self._claim(job, now)
        what = stage(job.stage)
        self.asked_to_stop.discard(job.id)
        self.executor.start(
            Order(
                job_id=claimed.id,
                fence=claimed.fence,
                key=claimed.key,
                stage=claimed.stage,
                inputs=inputs,
                params=claimed.params,
                device=self.device,
                threads=self.threads if long else 1,
                ram_bytes=int(self.settings.run.ram_gb * 2**30),
                long=long,
                isolated=what.isolated,
                hang_s=what.hang_s,
            )
        )

    def _claim(self, job: JobRow, now: float) -> JobRow:
        return self.store.jobs.claim(job.id, self.lease, now)

    def _located(self, job: JobRow) -> dict[str, list[Input]] | None:
        """The job's inputs with the path where its volume lies now, which may not be where it lay when it was wanted."""
        inputs = {name: list(items) for name, items in job.inputs.items()}
        if job.volume_id is not None:
            volume = self.store.volumes.get(job.volume_id)
            if volume is None:
                return None
            inputs["source"] = [self.planning.planner.source(volume)]
        return inputs

    def _make_room(self, job: JobRow) -> None:
        """Training stops at a checkpoint when something more urgent waits; it continues afterwards."""
        running = [(j.id, j.priority, j.stage) for j in self.store.jobs.running() if j.stage in LONG]
        victim = to_preempt(running, job.priority, PREEMPTIBLE)
        if victim is not None and victim not in self.asked_to_stop:
            self.asked_to_stop.add(victim)
            self.executor.stop(victim)

    # the daemon's pulse

    def pulse(self, note: str = "") -> None:
        """A sign of life for those who only read the database."""
        self.store.state.seen(self.clock(), note)

    def housekeeping(self) -> None:
        """Fold the write-ahead log."""
        try:
            self.store.checkpoint()
        except sqlite3.OperationalError as e:
            log.warning("checkpoint postponed: %s", e)


def is_sighting(event: Any) -> bool:
    """Does the event only say what the scan saw of an acquisition?"""
    return isinstance(event, (Arriving, Gone)) or (isinstance(event, Settled) and event.watch != INBOX)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
