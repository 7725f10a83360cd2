"""Which ready job begins now, on which worker; and what stands in the way of beginning anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from alcore.run import STAGES, stage
from alcore.stage import Input
from daemon.budget import Budget
from daemon.config import Settings
from daemon.courtesy import ACTIVE_S, FRESH_S, Courtesy
from daemon.disk import free_gb
from daemon.endings import Endings
from daemon.executors.port import Executor, Order
from daemon.pages import PageKeeper
from daemon.policy import TRAINING, is_heavy, may_start, to_preempt
from daemon.retention import may_begin
from daemon.store.rows import JobRow, VolumeRow
from daemon.store.store import Store
from daemon.workspace import Workspace

PREEMPTIBLE = {name: stage(name).preemptible for name in STAGES}


@dataclass(frozen=True)
class Machine:
    """device: "cpu" or "cuda". threads: of a long job. lease: names the workers of this daemon."""

    device: str
    threads: int
    lease: str


@dataclass(frozen=True)
class Dispatch:
    """From ready jobs to orders. source: where a volume lies now."""

    settings: Settings
    workspace: Workspace
    store: Store
    executor: Executor
    machine: Machine
    source: Callable[[VolumeRow], Input]
    endings: Endings
    budget: Budget
    pages: PageKeeper
    asked_to_stop: dict[int, str] = field(default_factory=dict)
    courtesy: Courtesy = field(default_factory=Courtesy)

    def ended(self, job_id: int) -> str:
        """A worker reported the end of a job. Returns why it was asked to stop, or ""."""
        return self.asked_to_stop.pop(job_id, "")

    def waits_for(self, now: float) -> str:
        """What work that is ready waits for, in words; "" when only for a worker."""
        if self.budget.full:
            return "waiting: the workspace has reached its budget (disk.budget_gb)"
        hours, polite = self.settings.training.hours, self.courtesy.since is not None
        ready = self.store.jobs.ready(64, True) if hours is not None or polite else []
        stands_still = polite and any(self.executor.holds(job.stage) for job in self._heavy())
        if stands_still or (polite and any(is_heavy(job.long, job.priority) for job in ready)):
            return "waiting: files are arriving (run.yield_to_acquisition)"
        closed = any(not may_start(job.stage, job.long, hours, now) for job in ready)
        return f"training waits for its hours, {hours}" if closed else ""

    def start_what_is_ready(self, now: float) -> None:
        """Claim what is ready for the workers that are free; training only within its hours, heavy work not while files grow."""
        self._keep_hours(now)
        paused = self._paused(now)
        polite = self._gives_way(paused, now)
        if not (self._disk_is_full(now) or paused):
            self._start_all((False, True), polite, now)

    def start_short(self, now: float) -> None:
        """The same for short jobs alone, which nothing has to give way to."""
        if not (self._paused(now) or self._disk_is_full(now)):
            self._start_all((False,), False, now)

    def _start_all(self, lanes: Sequence[bool], polite: bool, now: float) -> None:
        for group, long in itertools.product(self.executor.groups, lanes):
            for job in self.store.jobs.ready(64, long, group):
                if self.workspace.artifacts.has(job.key):
                    self.endings.done(job, now, "made before")
                elif (polite and is_heavy(long, job.priority)) or not self._may_begin(job, long, now):
                    continue
                elif self.executor.free(long, job.stage):
                    self._start(job, long, now)
                else:
                    if long:
                        self._make_room(job, group)
                    break

    def _may_begin(self, job: JobRow, long: bool, now: float) -> bool:
        return may_begin(job.stage, self.budget.full) and may_start(job.stage, long, self.settings.training.hours, now)

    def _paused(self, now: float) -> bool:
        """Paused by a person? Then nothing new is started, and heavy work stands still."""
        until = self.store.state.paused_until()
        if until is not None and now >= until:
            self.store.state.pause(None)
            until = None
        return until is not None

    def _disk_is_full(self, now: float) -> bool:
        """Nearly: nothing new is started."""
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
        return False

    def _start(self, job: JobRow, long: bool, now: float) -> None:
        if not self.pages.there(job.inputs):
            self.store.jobs.withdraw(
                job.id, "a part of the list of what it works on was removed; it is planned anew", now
            )
            return
        inputs = self._located(job)
        if inputs is None:
            self.store.jobs.postponed(
                self._claim(job, now).id, now + 60, "its volume cannot be read now", "source_missing", now, False
            )
            return
        claimed = self._claim(job, now)
        what = stage(job.stage)
        self.asked_to_stop.pop(job.id, None)
        self.executor.start(
            Order(
                job_id=claimed.id,
                fence=claimed.fence,
                key=claimed.key,
                stage=claimed.stage,
                inputs=inputs,
                params=claimed.params,
                device=self.machine.device,
                threads=self.machine.threads if long else 1,
                ram_bytes=int(self.settings.run.ram_gb * 2**30),
                long=long,
                isolated=what.isolated and long,
                hang_s=what.hang_s,
            )
        )

    def _claim(self, job: JobRow, now: float) -> JobRow:
        return self.store.jobs.claim(job.id, self.machine.lease, now)

    def _located(self, job: JobRow) -> dict[str, list[Input]] | None:
        """The job's inputs with the path where its volume lies now, which may not be where it lay when it was wanted."""
        inputs = {name: list(items) for name, items in job.inputs.items()}
        if job.volume_id is not None:
            volume = self.store.volumes.get(job.volume_id)
            if volume is None:
                return None
            inputs["source"] = [self.source(volume)]
        return inputs

    def _make_room(self, job: JobRow, group: Collection[str] | None) -> None:
        """Training stops at a checkpoint when something more urgent waits for its workers; it continues afterwards."""
        running = [
            (j.id, j.priority, j.stage)
            for j in self.store.jobs.running()
            if j.long and (group is None or j.stage in group)
        ]
        victim = to_preempt(running, job.priority, PREEMPTIBLE)
        if victim is not None:
            self._ask_to_stop(victim, "made room for more urgent work")

    def _keep_hours(self, now: float) -> None:
        """Training stops at a checkpoint when its hours are over, and goes on when they begin again."""
        hours = self.settings.training.hours
        if hours is None:
            return
        for job in self.store.jobs.running():
            if not may_start(job.stage, job.long, hours, now):
                self._ask_to_stop(job.id, f"its hours are over (training.window = {hours})")

    def _gives_way(self, paused: bool, now: float) -> bool:
        """Does heavy work give way to the microscope now? It stands still where it is; where the executor cannot do that, a training
        stops at a checkpoint, and what has none is finished first."""
        costly = not all(self.executor.holds(name) for name in TRAINING)
        most_s = 60 * self.settings.run.yield_at_most_min
        polite = self.courtesy.gives_way(self._microscope_writes(now), most_s, now, costly)
        for job in self._heavy():
            if self.executor.holds(job.stage):
                self.executor.hold(job.id, paused or (polite and not self._somebody_waits()))
            elif polite and stage(job.stage).checkpoint:
                self._ask_to_stop(job.id, "files are arriving (run.yield_to_acquisition)")
        return polite

    def _heavy(self) -> list[JobRow]:
        return [job for job in self.store.jobs.running() if is_heavy(job.long, job.priority)]

    def _somebody_waits(self) -> bool:
        """Is there long work that a person waits for, and that can only begin when what runs has ended?"""
        first = [job for group in self.executor.groups for job in self.store.jobs.ready(1, True, group)]
        return any(self.executor.holds(job.stage) and not is_heavy(job.long, job.priority) for job in first)

    def _microscope_writes(self, now: float) -> bool:
        rule, sources = self.settings.run.yield_to_acquisition, self.store.sources
        if rule == "off":
            return False
        return sources.is_growing(now - ACTIVE_S, now - FRESH_S) or (rule == "arriving" and sources.is_awaited(now))

    def _ask_to_stop(self, job_id: int, why: str) -> None:
        if job_id not in self.asked_to_stop:
            self.asked_to_stop[job_id] = why
            self.executor.stop(job_id)
