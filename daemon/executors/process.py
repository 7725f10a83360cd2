"""Worker processes, kept warm for the next job in separate lanes for small and long jobs. A dead worker costs one job, nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alcore.artifact import ArtifactStore
from alcore.disk import full_words, is_full, no_space
from daemon.executors.logs import WORKERS_LOG
from daemon.executors.perform import one_line
from daemon.executors.port import Finished, Order, Places, Progress, Reports
from daemon.secrecy import for_others

JOBS_PER_WARM_WORKER = 200
"""A warm worker is replaced after so many jobs, so that a leak in a library never adds up."""
IDLE_S = 120.0
"""A warm worker that has had nothing to do for so long gives its memory back."""
THREADED = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "BLOSC_NTHREADS", "TIFFFILE_NUM_THREADS", "IMAGECODECS_NUM_THREADS"),
)
"""What libraries with threads of their own ask how many they may start."""
POLL_S = 0.05
Patience = Callable[[Order, float], bool]
"""Is a job, of which such a fraction is done, to be waited for although its time to stop is over? Asked again and again."""


class Worker:
    """One child process in a session of its own, spoken to line by line."""

    def __init__(self, places: Places, nice: int, threads: int) -> None:
        places.jobs.mkdir(parents=True, exist_ok=True)
        log = open(places.jobs / WORKERS_LOG, "ab")  # noqa: SIM115 - the child keeps it
        environment = for_others(os.environ) | dict.fromkeys(THREADED, str(threads))
        environment |= {
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait by spinning take the cores from everybody else
            "PYTHONUNBUFFERED": "1",
        }
        self.jobs = 0
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon.executors.worker"]
                + [str(p) for p in (places.artifacts, places.cache, places.jobs)]
                + [str(nice)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=environment,
            )
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Process id, which is also its process group."""
        return self._process.pid

    def send(self, message: dict[str, object]) -> None:
        """Write one line; a worker that is gone is noticed by `read`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def read(self, timeout_s: float) -> dict[str, dict[str, object]] | None:
        """The next message, or None when none came in time. Raises EOFError when the worker is gone."""
        assert self._process.stdout is not None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0:
                return None
            # a child of the worker may hold the pipe open after the worker's death, so death is asked for as well
            dead = self._process.poll() is not None
            if not select.select([self._process.stdout], [], [], min(left, 1.0))[0]:
                if dead:
                    raise EOFError
                continue
            block = os.read(self._process.stdout.fileno(), 65536)
            if not block:
                raise EOFError
            self._buffer += block
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, dict[str, object]] = json.loads(line)
        return message

    def end(self) -> int:
        """Kill the whole process group, whatever is left of it, and reap it. Returns the exit status."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return status


@dataclass(frozen=True)
class Lane:
    """A slot with at most one worker process: long jobs have slots of their own, so that small ones never wait for them."""

    long: bool
    threads: int


class _LaneThread(threading.Thread):
    """Runs the orders of one lane, one after the other."""

    def __init__(self, name: str, lane: Lane, places: Places, nice: int, reports: Reports) -> None:
        super().__init__(name=name, daemon=True)
        self.lane = lane
        self.current: Order | None = None
        self.fraction = 0.0
        self._places, self._nice, self._reports = places, nice, reports
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._killed = False
        self._stopped = False
        self._held = False

    def give(self, order: Order | None) -> None:
        if order is not None:
            self.current, self.fraction = order, 0.0
            self._killed = self._stopped = self._held = False
        self._orders.put(order)

    def ask_to_stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.send({"stop": True})

    def hold(self, held: bool) -> None:
        with self._lock:
            if held != self._held:
                self._held = held
                if self._worker is not None:
                    self._worker.send({"hold": held})

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._worker is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._worker.pid, signal.SIGKILL)

    def run(self) -> None:
        while (order := self._next()) is not None:
            try:
                finished = self._serve(order)
            except Exception as e:  # the lane must outlive whatever went wrong with one job
                self._drop_worker()
                finished = Finished(
                    order.job_id, order.fence, "lost", one_line(f"{type(e).__name__}: {e}"), "transient"
                )
                if no_space(e):
                    finished = self._no_room(order)
            self.current = None
            del order  # that of a job on the whole pool is megabytes, and the next may be hours away
            self._reports.put(finished)
        self._drop_worker()

    def _next(self) -> Order | None:
        """The next order, or None to end; an idle worker is let go while waiting."""
        try:
            return self._orders.get(timeout=IDLE_S)
        except queue.Empty:
            self._drop_worker()
            return self._orders.get()

    def _serve(self, order: Order) -> Finished:
        with self._lock:
            if self._killed or self._stopped:
                return Finished(order.job_id, order.fence, "preempted")
            if self._worker is None:
                self._worker = Worker(self._places, self._nice, order.threads)
            worker = self._worker
            worker.jobs += 1
            worker.send({"order": order.to_line()})
            if self._held:  # said before there was anybody to hear it
                worker.send({"hold": True})
        finished = self._follow(order, worker)
        if order.isolated or worker.jobs >= JOBS_PER_WARM_WORKER or finished.outcome == "lost":
            self._drop_worker()
        return finished

    def _follow(self, order: Order, worker: Worker) -> Finished:
        """Pass on reports until the job ends, its worker dies, or it is silent for too long."""
        while True:
            try:
                message = worker.read(order.hang_s)
            except EOFError:
                full = is_full(self._places.artifacts)  # asked before the cleaning up makes room
                status = self._drop_worker()
                if full and not self._killed:  # a write to a mapped file on a full disk is a SIGBUS
                    return self._no_room(order)
                why = f"signal {-status}" if status < 0 else f"exit status {status}"
                hint = "; out of memory?" if status == -signal.SIGKILL and not self._killed else ""
                return Finished(order.job_id, order.fence, "lost", f"the worker died ({why}{hint})", "transient")
            if message is None:
                self._drop_worker()
                why = f"no sign of life for {order.hang_s:.0f} s: the worker was ended"
                return Finished(order.job_id, order.fence, "lost", why, "transient")
            if "progress" in message:
                told = Progress(**message["progress"])  # type: ignore[arg-type]
                self.fraction = told.fraction
                self._reports.put(told)
            else:
                return Finished(**message["finished"])  # type: ignore[arg-type]

    def _no_room(self, order: Order) -> Finished:
        return Finished(order.job_id, order.fence, "lost", full_words(self._places.artifacts), "disk_full")

    def _drop_worker(self) -> int:
        """End the worker, and remove what it may have left half-written. Returns its exit status."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is None:
            return 0
        status = worker.end()
        ArtifactStore(self._places.artifacts).clean_staging(worker.pid)
        return status


class ProcessExecutor:
    """A fixed set of lanes, each a thread that owns at most one worker process."""

    groups = (None,)

    def __init__(self, places: Places, reports: Reports, lanes: Sequence[Lane], nice: int) -> None:
        self._lanes = [
            _LaneThread(f"lane-{i}{'-long' if lane.long else ''}", lane, places, nice, reports)
            for i, lane in enumerate(lanes)
        ]
        for lane in self._lanes:
            lane.start()

    def holds(self, stage: str) -> bool:
        """Every job."""
        return True

    def free(self, long: bool, stage: str) -> bool:
        """Is there a slot for a job of this kind?"""
        return self._free_lane(long) is not None

    def _free_lane(self, long: bool) -> _LaneThread | None:
        return next((t for t in self._lanes if t.lane.long == long and t.current is None), None)

    def start(self, order: Order) -> None:
        """Hand the order to a free lane."""
        lane = self._free_lane(order.long)
        assert lane is not None, "start() without a free lane"
        lane.give(order)

    def stop(self, job_id: int) -> None:
        """Ask a job to stop at its next checkpoint."""
        for lane in self._holding(job_id):
            lane.ask_to_stop()

    def hold(self, job_id: int, held: bool) -> None:
        """Let a job stand still at its next step, or go on."""
        for lane in self._holding(job_id):
            lane.hold(held)

    def kill(self, job_id: int) -> None:
        """End a job now, its children included."""
        for lane in self._holding(job_id):
            lane.kill()

    def _holding(self, job_id: int) -> list[_LaneThread]:
        return [t for t in self._lanes if (order := t.current) is not None and order.job_id == job_id]

    def dead(self) -> list[str]:
        """Names of lanes that serve nobody any more: none, unless something is very wrong."""
        return [lane.name for lane in self._lanes if not lane.is_alive()]

    def shutdown(self, grace_s: float, patience: Patience = lambda order, fraction: False) -> None:
        """Stop everything: politely for `grace_s`, and for as long after that as `patience` is had with an order that runs;
        then by force. Nothing is left behind."""
        for lane in self._lanes:
            lane.ask_to_stop()
            lane.give(None)
        until = time.monotonic() + grace_s
        for lane in self._lanes:
            while lane.is_alive():
                order = lane.current
                if time.monotonic() >= until and not (order is not None and patience(order, lane.fraction)):
                    break
                lane.join(POLL_S)
        for lane in self._lanes:
            if lane.is_alive():
                lane.kill()
                lane.join()
