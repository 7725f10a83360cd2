"""What a dask worker does with an order: hand it to a child process on its host, as the daemon's own lanes do, and pass on what it says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import alcore
from daemon.device import affinity, gpu_names
from daemon.executors.port import Finished, Order, Places, Progress
from daemon.executors.process import Lane, ProcessExecutor

LOOK_S = 0.25
"""So often a job asks whether it is still wanted."""
STOP, KILL = "stop", "kill"


def versions() -> dict[str, str]:
    """What has to be the same at both ends."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"alscope": alcore.__version__, "Python": python, "code": _code()}


@cache
def _code() -> str:
    """A digest of the code when it was first asked for: two clones may call themselves the same and differ."""
    digest = hashlib.sha256()
    for package in (Path(alcore.__file__).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def about() -> dict[str, Any]:
    """How the host of this worker is: name, GPUs, versions."""
    return {"host": socket.gethostname(), "gpus": gpu_names(), "versions": versions()}


def task_name(topic: str, order: Order) -> str:
    """The key of the task for an order. topic: names the daemon, and is how the names of its tasks begin."""
    return f"{topic}-job-{order.job_id}-{order.fence}-{'long' if order.long else 'short'}"


def is_long(name: str) -> bool:
    """Is this the task of a long job, of whatever daemon?"""
    return name.startswith("alscope-") and name.endswith("-long")


def job_of(name: str) -> int:
    """The number of the job, of the name of a task."""
    return int(name.rpartition("-job-")[2].partition("-")[0])


def unlike(theirs: dict[str, str], mine: dict[str, str]) -> str:
    """What of a worker differs from the daemon, in words; ""."""
    return ", ".join(
        f"{name} {theirs.get(name)}, the daemon {mine[name]}" for name in mine if theirs.get(name) != mine[name]
    )


def given(folder: Path, fence: int) -> Path:
    """The mark that the daemon leaves in a job's folder: whoever takes it away runs the job."""
    return folder / f"given-{fence}"


def taken(folder: Path, fence: int) -> Path:
    """What the mark is called afterwards."""
    return folder / f"taken-{fence}"


@dataclass(frozen=True)
class _Slot:
    """A lane of its own, with its reports."""

    lane: ProcessExecutor
    reports: queue.SimpleQueue[Any]


_idle: dict[tuple[Any, ...], list[_Slot]] = {}
_running: dict[str, tuple[_Slot, int]] = {}
_long: set[str] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def _slot(name: str, order: Order, places: Places, nice: int) -> Iterator[_Slot]:
    """A lane for the job `name`, whose process may be warm from a job before."""
    kind = (places, nice, order.long, order.threads)
    with _lock:
        waiting = _idle.setdefault(kind, [])
        slot = waiting.pop() if waiting else None
    if slot is None:
        reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        slot = _Slot(ProcessExecutor(places, reports, [Lane(order.long, order.threads)], nice), reports)
    with _lock:
        _running[name] = (slot, order.job_id)
    try:
        yield slot
    finally:
        with _lock:
            del _running[name]
            _idle[kind].append(slot)


def steer(name: str, what: str) -> bool:
    """Ask a job on this worker to stop at its next checkpoint, or end it. False when it is not here (any more)."""
    with _lock:
        found = _running.get(name)
    if found is None:
        return False
    slot, job_id = found
    (slot.lane.stop if what == STOP else slot.lane.kill)(job_id)
    return True


def serve(
    name: str,
    line: str,
    places: Sequence[str],
    nice: int,
    own_cores: bool,
    wanted: dict[str, str],
    most_long: int,
) -> dict[str, Any]:
    """Run the order in `line` to its end; returns the fields of its `Finished`.

    name: the key of the task. own_cores: a long job takes the cores of this host instead of as many as the daemon says. wanted:
    `versions()` of the daemon. most_long: this worker takes so many long jobs at once, whoever sent them; 0 where a resource counts
    them.
    """
    order, host = Order.from_line(line), socket.gethostname()

    def refused(why: str, kind: str) -> dict[str, Any]:
        return asdict(Finished(order.job_id, order.fence, "lost", why, kind))

    if wrong := unlike(versions(), wanted):
        return refused(f"the worker on {host} is another: {wrong}", "cluster")
    with _place(name, order.long, most_long) as there:
        if not there:
            return refused(f"the worker on {host} has a long job of another daemon", "cluster")
        where = Places(*map(Path, places))
        folder = where.job(order.job_id)
        try:
            os.rename(given(folder, order.fence), taken(folder, order.fence))
        except FileNotFoundError:
            if taken(folder, order.fence).exists():  # the scheduler gives a task to another worker by itself
                return refused("the worker was lost", "transient")
            why = f"the worker on {host} does not see {folder}: mount the workspace there, under the same path"
            return refused(why, "cluster")
        except OSError as e:
            why = f"the worker on {host} may not write in {folder} ({e.strerror}): start it as the user of the daemon"
            return refused(why, "cluster")
        if own_cores and order.long:
            order = replace(order, threads=affinity())
        return _served(name, order, where, nice)


@contextlib.contextmanager
def _place(name: str, long: bool, most_long: int) -> Iterator[bool]:
    """Is there room for this job beside the long ones?"""
    with _lock:
        there = not (long and most_long) or len(_long) < most_long
        if long and there:
            _long.add(name)
    try:
        yield there
    finally:
        with _lock:
            _long.discard(name)


def _served(name: str, order: Order, places: Places, nice: int) -> dict[str, Any]:
    """Run an order that nobody else runs, and tell under the topic of its daemon where, and how far it is."""
    from distributed import get_worker

    worker, topic = get_worker(), name.rpartition("-job-")[0]
    with _slot(name, order, places, nice) as slot:
        told = {"name": name, "host": socket.gethostname()}
        worker.log_event(topic, told)  # distributed adds the address as "worker"
        slot.lane.start(order)
        while True:
            try:
                report = slot.reports.get(timeout=LOOK_S)
            except queue.Empty:
                report = None
            if isinstance(report, Finished):
                return asdict(report)
            if isinstance(report, Progress):
                worker.log_event(topic, {"name": name, "progress": asdict(report)})
            if not _wanted(worker, name):
                slot.lane.kill(order.job_id)


def _wanted(worker: Any, name: str) -> bool:
    """Not when the daemon is gone or took the job back, nor when this worker is about to end."""
    task = worker.state.tasks.get(name)
    if task is None or task.state in ("cancelled", "resumed", "released"):
        return False
    return worker.status.name in ("running", "paused", "closing_gracefully")
