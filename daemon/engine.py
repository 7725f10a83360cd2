"""The one place where state changes: events in, planning from levels, jobs out to the executor, results back into the store."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daemon import commands
from daemon.alarming import Alarming
from daemon.arrival import Arriving, Gone, Identified, Reachable, Settled
from daemon.backing import Backing
from daemon.budget import Budget
from daemon.claims import ClaimClock
from daemon.clearing import Clearing
from daemon.config import Settings
from daemon.courier import Delivered
from daemon.dispatch import Dispatch, Machine
from daemon.endings import Endings
from daemon.executors.port import ClusterSaid, Executor, Finished, Progress
from daemon.files import Files
from daemon.found import Finding
from daemon.housekeeping import Housekeeping
from daemon.inbox import Inbox
from daemon.ingest import Ingest
from daemon.memory import give_back
from daemon.pages import PageKeeper
from daemon.planner import Planner
from daemon.planning import Planning
from daemon.reporting.publish import Reporter
from daemon.results import Results, printable
from daemon.results_selection import Failure
from daemon.store.rows import Wanted, path_of
from daemon.store.store import Store
from daemon.tidying import Tidying
from daemon.walk import INBOX
from daemon.wording import count
from daemon.workspace import Workspace

log = logging.getLogger("alscope.engine")

LOOK_AGAIN_S = 30.0
"""Where nothing has changed, what ought to exist is asked so seldom: what time alone brings (see decision 35) can wait so long."""


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
    waits_for: str = field(default="", init=False)
    at_rest: tuple[object, float] = field(default=(None, 0.0), init=False)
    signs_of_life: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        planner = Planner(self.settings, self.device, self.workspace.artifacts.path, self.workspace.root)
        self.planning = Planning(self.store, planner, self.settings)
        self.results = Results(self.store, self.settings, self.device)
        self.endings = Endings(self.store, self.workspace.places, self.workspace.artifacts, self.results, self.ingest)
        self.pages = PageKeeper(self.workspace.artifacts)
        self.files = Files(self.store, self.workspace)
        self.keeping = Housekeeping(self.store, self.workspace, self.settings.training.keep_days)
        self.backing = Backing(self.store, self.workspace, self.settings.run.keep_backups)
        self.finding = Finding(self.store, self.workspace, self.settings)
        prediction = self.settings.prediction
        self.clearing = Clearing(self.store, self.workspace, prediction.keep_models, prediction.keep_days, self.pages)
        self.budget = Budget.of(self.store, self.workspace, self.settings.disk.budget_gb)
        keep_days, specs = self.settings.disk.keep_days, (planner.embedding_spec, planner.kept_spec)
        specs_of = lambda encoder: [spec(encoder) for spec in specs]  # noqa: E731
        self.tidying = Tidying(self.store, self.workspace, keep_days, specs_of, self.pages)
        self.reporter = Reporter(self.store, self.workspace)
        self.inbox = Inbox(self.settings, self.workspace, self.store)
        self.claim_clock = ClaimClock(self.store)
        self.alarming = Alarming(self.settings, self.workspace, self.store, self.clock())
        self.dispatch = Dispatch(
            self.settings,
            self.workspace,
            self.store,
            self.executor,
            Machine(self.device, self.threads, self.lease),
            planner.source,
            self.endings,
            self.budget,
            self.pages,
        )

    def start(self) -> None:
        """Take over what a former daemon left: its running jobs wait again, its half-written artifacts go."""
        self.finding.find(self.clock())
        if other := self.store.jobs.withdraw_of_other_code(self.clock()):
            words = (
                f"{count(other, 'job')} of another version of alscope withdrawn: what is still wanted is planned anew"
            )
            self.store.state.event("daemon", words, self.clock())
        recovered = self.store.jobs.recover(self.clock())
        for job in self.planning.selection.outdated_labels():
            self.store.jobs.withdraw(job.id, "the label is checked otherwise now", self.clock())
        self.workspace.artifacts.clean_staging()
        if recovered:
            self.store.state.event("daemon", f"{recovered} interrupted jobs taken up again", self.clock())
        for kind in ("config", "cluster"):
            self.store.state.no_problems(kind)
        self.take_in_folders()

    def take_in_folders(self) -> None:
        """The watched folders are those of the settings: what was known of their files is theirs."""
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
            self.inbox.arrived(path_of(event.path), self.clock())
        elif isinstance(event, Reachable):
            self._folder_changed(event)
        elif isinstance(event, Identified):
            self.store.sources.identify(event.folder, event.identity)
        elif isinstance(event, Progress):
            self.store.jobs.heartbeat(event.job_id, event.fence, event.fraction, event.note, self.clock())
        elif isinstance(event, Finished):
            asked = self.dispatch.ended(event.job_id)
            self.endings.finished(event, self.clock(), asked)
        elif isinstance(event, ClusterSaid):
            self._cluster_said(event)
        elif isinstance(event, Delivered):
            self.alarming.delivered(event, self.clock())

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

    def _cluster_said(self, event: ClusterSaid) -> None:
        """A cluster that is gone, or has nobody who can work, is a problem until it is back."""
        if event.trouble:
            text = f"{event.address}: {event.trouble}"
            if self.store.state.problem("cluster", event.address, text, self.clock()):
                self.store.state.event("cluster", text, self.clock())
        elif self.store.state.solved("cluster", event.address):
            self.store.state.event("cluster", f"{event.address}: the cluster is at work again", self.clock())

    # planning

    def tick(self) -> None:
        """Bring everything in line: commands, timers of jobs, files for people, wanted jobs, free workers."""
        now = self.clock()
        commands.obey(self, now)
        self._let_leases_run(now)
        self.finding.bring(now)
        self.store.jobs.due(now)
        standing, since = self.at_rest
        if self._changes() != standing or not 0 <= now - since < LOOK_AGAIN_S:
            self._bring_in_line(now)
        self.dispatch.start_what_is_ready(now)

    def _let_leases_run(self, now: float) -> None:
        """A lease that only got shorter is a sign of life, no more."""
        before = self.store.changes()[0]
        if not self.claim_clock.tick(now):
            self.signs_of_life += self.store.changes()[0] - before

    def _changes(self) -> object:
        """Another value when anything in the database has changed, but for signs of life."""
        ours, others = self.store.changes()
        return ours - self.signs_of_life, others

    def _bring_in_line(self, now: float) -> None:
        """Files for people, and jobs; at rest afterwards if there was nothing to do."""
        before, self.at_rest = self._changes(), (None, 0.0)
        self.files.reconcile()
        self.reporter.step()
        self._want(self.planning.first(now), now)
        self.dispatch.start_short(now)  # what people wait for begins before the rest is thought about
        self._want(self.planning.then(now), now)
        self._settle_known_recipes(now)
        self._cancel_outdated(now)
        if self._changes() == before and not self.files.copying:
            self.at_rest = before, now

    def _want(self, jobs: Iterator[Wanted], now: float) -> None:
        """Put these on record: one write to the disk, however many they are."""
        with self.store.transaction():
            for wanted in jobs:
                self.pages.write(wanted.pages)
                self.store.jobs.want(wanted, now)

    def _settle_known_recipes(self, now: float) -> None:
        """Sources whose recipe was run before (a hard link, a restart at a bad moment): use what is there."""
        for source, wanted in self.planning.pool.readings():
            job = self.store.jobs.by_key(self.planning.key(wanted))
            if job is None:
                continue
            job = replace(job, subject=wanted.subject)
            if job.state == "done":
                with self.store.transaction():
                    self.results.done(job, job.result, now)
            elif job.state == "failed":
                self.results.set_aside(source, source.fingerprint, job, self.store.jobs.last_words(job.id), now)
            elif job.state == "cancelled":
                words = f"{job.inputs['source'][0].path}: its reading was {self.store.jobs.last_words(job.id)}"
                text = f"{words}; `alscope jobs retry {job.id}` reads it after all"
                self.results.set_aside(source, source.fingerprint, job, text, now)
        for wanted in self.planning.truth.wanted():  # a mask that was imported before, or could not be
            job = self.store.jobs.by_key(self.planning.key(wanted))
            if job is not None and job.state in ("done", "failed", "cancelled"):
                job = replace(job, subject=wanted.subject)
                with self.store.transaction():
                    if job.state == "done":
                        self.results.done(job, job.result, now)
                    else:
                        self.results.failed(job, Failure(self.store.jobs.last_words(job.id), "permanent"), now)

    def _cancel_outdated(self, now: float) -> None:
        """Predictions that an older model was still to make are not wanted any more, nor a look at patches that were answered,
        nor scores for a round that is over."""
        promoted = self.store.learning.promoted()
        if promoted is not None:
            for job in self.store.jobs.outdated("predict", self.planning.planner.predict_spec(promoted)):
                self.store.jobs.withdraw(job.id, f"{promoted.version} was promoted", now)
        for job in self.planning.annotation.outdated():
            self.store.jobs.withdraw(job.id, "the patch was answered", now)
        for job in self.planning.learning.unwanted():
            self.store.jobs.withdraw(job.id, "its round was concluded without it", now)

    def with_settings(self, settings: Settings, ingest: Ingest | None) -> Engine:
        """The same engine under other settings; jobs that run go on."""
        new = replace(self, settings=settings, ingest=ingest)
        kept = self.dispatch
        new.dispatch = replace(new.dispatch, asked_to_stop=kept.asked_to_stop, courtesy=kept.courtesy)
        new.claim_clock, new.reporter, new.backing = self.claim_clock, self.reporter, self.backing
        new.backing.keep = settings.run.keep_backups
        new.budget.measuring, new.budget.standing = self.budget.measuring, self.budget.standing
        before, after = self.alarming, new.alarming
        after.started, after.patience, after.busy = before.started, before.patience, before.busy
        return new

    def doing(self) -> object:
        """What is at work now, and what it waits for: another value when that changes."""
        return [job.id for job in self.store.jobs.running()], self.waits_for

    # the daemon's pulse

    def pulse(self) -> None:
        """A sign of life for those who only read the database; a look at what is worth an alarm; and a little clearing and measuring."""
        now = self.clock()
        self.budget.look(now)
        self.waits_for = self.dispatch.waits_for(now)
        before = self.store.changes()[0]
        self.store.state.seen(now, self.waits_for)
        self.signs_of_life += self.store.changes()[0] - before
        self.backing.tell(now)
        self.alarming.look(now)
        self.clearing.run(now)
        self.tidying.run(now, pressed=bool(self.budget.standing))

    def housekeeping(self) -> None:
        """Fold the write-ahead log; remove what nobody needs any more; make the nightly backup; give free memory back."""
        try:
            self.store.checkpoint()
        except sqlite3.OperationalError as e:
            log.warning("checkpoint postponed: %s", e)
        self.keeping.run(self.clock())
        self.backing.run(self.clock())
        give_back()


def is_sighting(event: Any) -> bool:
    """Does the event only say what the scan saw of an acquisition?"""
    return isinstance(event, (Arriving, Gone)) or (isinstance(event, Settled) and event.watch != INBOX)
