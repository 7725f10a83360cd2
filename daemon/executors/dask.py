"""Runs orders on the workers of a dask cluster. A cluster that is gone costs no attempt; a worker that is gone costs one."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from distributed import CancelledError, Future

from alcore.artifact import ArtifactStore
from daemon.executors import remote
from daemon.executors.cluster import RemoteWorker, workspace_name
from daemon.executors.perform import one_line
from daemon.executors.port import Finished, Order, Places, Progress, Reports
from daemon.executors.process import POLL_S, Patience
from daemon.executors.watch import Watch

SEEN_WITHIN_S = 60.0
"""A network file system shows here what was written elsewhere within so long."""
KILLED_WITHIN_S = 5.0
BEGINS_WITHIN_S = 60.0
"""A worker that has room begins with a job within so long,"""
OUTRUN_S = 5.0
"""and one where another daemon was faster has not begun after so long."""


@dataclass
class _Job:
    """An order on its way. among: addresses of the workers that may take it; at: that of the one that has it, or ""."""

    order: Order
    name: str
    among: frozenset[str]
    future: Future | None = None
    at: str = ""
    host: str = ""
    fraction: float = 0.0
    asked: str = ""
    done: Finished | None = None
    done_at: float = 0.0
    sent_at: float = field(default_factory=time.monotonic)


class DaskExecutor:
    """gpu: jobs compute on one, and only workers that declare the resource GPU get any; a long job takes one of it.

    threads: of a long job; 0 = the cores of the worker's host. elastic: workers come when jobs wait, and go when none do. most_long:
    of this daemon at once, 0 = as many as there is room for. Several daemons may use one scheduler: names of tasks carry the
    workspace and this daemon.
    """

    groups = (None,)

    def __init__(
        self,
        places: Places,
        reports: Reports,
        address: str,
        gpu: bool,
        threads: int,
        nice: int,
        elastic: bool = False,
        most_long: int = 0,
    ) -> None:
        self._logical, self._reports = places, reports
        self._places = Places(*(p.resolve() for p in (places.artifacts, places.cache, places.jobs)))
        self._gpu, self._threads, self._nice, self._most_long = gpu, threads, nice, most_long
        remote.versions()  # of the code that this process runs, before anybody upgrades its files
        self._topic = f"{workspace_name(places)}-{uuid.uuid4().hex[:6]}"
        self._jobs: dict[int, _Job] = {}
        self._lock = threading.RLock()
        hear = (self._topic, self._heard)
        self._watch = Watch(address, gpu, self._lock, reports, hear, self._look, self._lost, elastic)
        self._watch.start()

    # the port

    def holds(self, stage: str) -> bool:
        """What stood still would keep its place on the cluster from others."""
        return False

    def free(self, long: bool, stage: str) -> bool:
        """Is there a worker that could begin with it now?"""
        with self._lock:
            found = self._watch.cluster is not None and self._pick(long) is not None
            self._watch.asked(found)
            return found

    def _pick(self, long: bool) -> RemoteWorker | None:
        """The worker with the most room. No job is sent behind another one, where a short one would wait for a training; and long
        ones leave one slot of the cluster to short ones, where there are two."""
        able, jobs = self._able(), list(self._jobs.values())
        most = max(1, sum(w.slots for w in able) - 1)
        if long and sum(j.order.long for j in jobs) >= min(most, self._most_long or most):
            return None

        def room(worker: RemoteWorker) -> int:
            return self._room(worker, jobs)

        return max((w for w in able if self._takes(w, long, jobs)), key=room, default=None)

    def _room(self, worker: RemoteWorker, jobs: list[_Job]) -> int:
        """Slots that neither these jobs nor those of others have."""
        return worker.slots - worker.others - sum(worker.address in j.among for j in jobs)

    def _takes(self, worker: RemoteWorker, long: bool, jobs: list[_Job]) -> bool:
        """Could it begin with one more beside these jobs and those of others?"""
        n_long = worker.others_long + sum(j.order.long and worker.address in j.among for j in jobs)
        return self._room(worker, jobs) > 0 and (not long or n_long < (worker.gpus if self._gpu else 1))

    def start(self, order: Order) -> None:
        """Hand the order to the scheduler."""
        folder = self._logical.job(order.job_id)
        name = remote.task_name(self._topic, order)
        with self._lock:
            cluster, worker = self._watch.cluster, self._pick(order.long)
            job = self._jobs[order.job_id] = _Job(order, name, frozenset([worker.address] if worker else []))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in (*folder.glob("given-*"), *folder.glob("taken-*")):
                old.unlink()
            remote.given(folder, order.fence).touch()
            if cluster is None or worker is None:
                raise ConnectionError("the cluster is gone")
            with self._lock:
                job.future = cluster.client.submit(
                    remote.serve,
                    name,
                    self._elsewhere(order).to_line(),
                    [str(p) for p in (self._places.artifacts, self._places.cache, self._places.jobs)],
                    self._nice,
                    self._threads == 0,
                    remote.versions(),
                    0 if self._gpu else 1,
                    key=name,
                    workers=sorted(job.among),
                    resources={"GPU": 1} if self._gpu and order.long else None,
                    retries=0,
                    pure=False,
                )
            cluster.follow(self._follow, job, job.future)
        except Exception as e:  # the connection broke at this moment, or the disk is full
            self._end(job, Finished(order.job_id, order.fence, "lost", one_line(e), "cluster"))

    def stop(self, job_id: int) -> None:
        """Ask a job to stop at its next checkpoint; one that has not begun comes back at once."""
        self._steer(job_id, remote.STOP)

    def hold(self, job_id: int, held: bool) -> None:
        """Jobs of a cluster do not stand still: see `holds`."""

    def kill(self, job_id: int) -> None:
        """End a job now, its children included."""
        self._steer(job_id, remote.KILL)

    def dead(self) -> list[str]:
        """Not empty when nobody looks after the cluster any more."""
        return [] if self._watch.alive() else ["cluster"]

    def shutdown(self, grace_s: float, patience: Patience = lambda order, fraction: False) -> None:
        """As the executor of processes does: politely, with patience, then by force."""
        for job_id in list(self._jobs):
            self.stop(job_id)
        until = time.monotonic() + grace_s
        while any(time.monotonic() < until or patience(j.order, j.fraction) for j in list(self._jobs.values())):
            time.sleep(POLL_S)
        for job_id in list(self._jobs):
            self.kill(job_id)
        until = time.monotonic() + KILLED_WITHIN_S
        while self._jobs and time.monotonic() < until:
            time.sleep(POLL_S)
        self._watch.close()
        for job in list(self._jobs.values()):  # the workers notice that nobody wants them
            self._end(job, Finished(job.order.job_id, job.order.fence, "lost", "the daemon was stopped", "cluster"))

    # towards the workers

    def _elsewhere(self, order: Order) -> Order:
        """The order with paths of artifacts as they are behind symbolic links, which other hosts need not have."""
        here, there = self._logical.artifacts, self._places.artifacts
        if here == there:
            return order
        inputs = {
            name: [
                dataclasses.replace(i, path=there / i.path.relative_to(here)) if i.path.is_relative_to(here) else i
                for i in items
            ]
            for name, items in order.inputs.items()
        }
        return dataclasses.replace(order, inputs=inputs)

    def _able(self) -> list[RemoteWorker]:
        return [w for w in self._watch.workers if not w.trouble]

    def _steer(self, job_id: int, what: str) -> None:
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.asked == remote.KILL:
                return
            job.asked = what
            if job.at:
                self._watch.steer(job.name, what, job.at)
                return
        outcome = Finished(job_id, job.order.fence, "preempted")
        if what == remote.KILL:
            outcome = Finished(job_id, job.order.fence, "lost", "ended before a worker began", "transient")
        self._end(job, outcome)

    # from the workers

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """In the thread of the client: a job began, or is so far."""
        _, said = event
        with self._lock:
            job = next((j for j in self._jobs.values() if j.name == said["name"]), None)
            if job is None:
                return
            if "host" in said:
                job.at, job.host = said["worker"], said["host"]
                if job.asked:
                    self._watch.steer(job.name, job.asked, job.at)
                return
            told = Progress(**said["progress"])
            job.fraction = told.fraction
        note = f"{told.note}, on {job.host}" if told.note else f"on {job.host}"
        self._reports.put(dataclasses.replace(told, note=note))

    async def _follow(self, job: _Job, future: Future) -> None:
        """In the thread of the client: wait until the task ends, one way or another."""
        order = job.order
        try:
            finished = Finished(**await future)
        except CancelledError:
            finished = Finished(order.job_id, order.fence, "lost", "the cluster is gone", "cluster")
        except Exception as e:  # distributed's words for workers that died, or for a task that nobody may take
            words, kind = (f"the worker was lost ({one_line(e)})", "transient") if job.at else (one_line(e), "cluster")
            finished = Finished(order.job_id, order.fence, "lost", words, kind)
        if finished.outcome == "done":
            job.done, job.done_at = finished, time.monotonic()
            self._watch.look_now()
        else:
            self._end(job, finished)

    def _end(self, job: _Job, finished: Finished) -> None:
        """The first word about the end of a job counts."""
        with self._lock:
            if self._jobs.get(job.order.job_id) is not job:
                return
            del self._jobs[job.order.job_id]
        for mark in (remote.given, remote.taken):
            with contextlib.suppress(OSError):
                mark(self._logical.job(job.order.job_id), job.order.fence).unlink(missing_ok=True)
        if job.future is not None:
            job.future.release()  # a task that nobody waits for is taken back
        self._reports.put(finished)

    # what becomes of orders, told by the thread that looks after the cluster

    def _look(self, there: set[str]) -> None:
        """there: addresses of all workers."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            number, fence = job.order.job_id, job.order.fence
            if job.done is not None:
                self._published(job, job.done)
            elif job.at and job.at not in there:
                words = f"the worker on {job.host} was lost"
                self._end(job, Finished(number, fence, "lost", words, "transient"))
            elif not job.at and not job.among & there:
                words, kind = "the workers that could run it are gone", "cluster"
                with contextlib.suppress(OSError):
                    if remote.taken(self._logical.job(number), fence).exists():  # it had begun, and could not say so
                        words, kind = "the worker was lost", "transient"
                self._end(job, Finished(number, fence, "lost", words, kind))
            elif not job.at and (why := self._not_begun(job)):
                self._end(job, Finished(number, fence, "lost", why, "cluster"))

    def _not_begun(self, job: _Job) -> str:
        """Why a job is taken back from the worker that has not begun with it, or ""."""
        waits_s = time.monotonic() - job.sent_at
        worker = next((w for w in self._watch.workers if w.address in job.among), None)
        if worker is None or waits_s < OUTRUN_S:
            return ""
        with self._lock:
            beside = [j for j in self._jobs.values() if j is not job]
        if not self._takes(worker, job.order.long, beside):
            return f"another daemon was faster at the worker on {worker.host}"
        if waits_s < BEGINS_WITHIN_S:
            return ""
        why = f"did not begin with a job within {BEGINS_WITHIN_S:.0f} s: does its file system hang?"
        self._watch.shun(worker.address, why)
        return f"the worker on {worker.host} {why}"

    def _published(self, job: _Job, finished: Finished) -> None:
        order = job.order
        if self._is_here(order):
            self._end(job, finished)
        elif time.monotonic() > job.done_at + SEEN_WITHIN_S:
            words = (
                f"what {job.host} made is not to be seen here after {SEEN_WITHIN_S:.0f} s: is it the same file system?"
            )
            self._end(job, Finished(order.job_id, order.fence, "lost", words, "transient"))

    def _is_here(self, order: Order) -> bool:
        """Is its artifact to be seen? A file system that cannot say may say so later."""
        try:
            return ArtifactStore(self._logical.artifacts).has(order.key)
        except OSError:
            return False

    def _lost(self) -> None:
        """Nothing is known of what was running, and its workers end it: all of it waits again."""
        for job in list(self._jobs.values()):
            if job.done is not None and self._is_here(job.order):
                self._end(job, job.done)
            else:
                self._end(job, Finished(job.order.job_id, job.order.fence, "lost", "the cluster is gone", "cluster"))
