"""The main program of a worker process: orders come in on stdin, reports go out on the first stdout, logs go to job folders.

It dies with its whole process group as soon as its parent is gone: the parent's end of stdin is the lifeline.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
from pathlib import Path

from daemon.executors.logs import shorten
from daemon.executors.perform import perform
from daemon.executors.port import Order, Places, Progress


def main(arguments: list[str]) -> int:
    """`worker ARTIFACTS CACHE JOBS NICE`: serve orders until stdin says to leave or closes."""
    artifacts, cache, jobs, nice = arguments
    places = Places(Path(artifacts), Path(cache), Path(jobs))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the daemon's to handle
    _step_back(int(nice))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)

    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    stop, held = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(orders, stop, held), name="lifeline", daemon=True).start()

    def tell(report: Progress) -> None:
        out.write(json.dumps({"progress": report.__dict__}) + "\n")

    while (order := orders.get()) is not None:
        with _log_to(places.job(order.job_id)):
            finished = perform(order, places, tell, stop.is_set, held.is_set)
        out.write(json.dumps({"finished": finished.__dict__}) + "\n")
    return 0


def _listen(orders: queue.SimpleQueue[Order | None], stop: threading.Event, held: threading.Event) -> None:
    """Read orders until the parent is gone; then end this process group, whatever it is doing."""
    for line in sys.stdin:
        message = json.loads(line)
        if "order" in message:
            stop.clear()  # here and not where the job begins: what is said after the order is about this order
            held.clear()
            orders.put(Order.from_line(message["order"]))
        elif "stop" in message:
            stop.set()
        elif "hold" in message:
            held.set() if message["hold"] else held.clear()
        elif "leave" in message:
            orders.put(None)
            return
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _step_back(nice: int) -> None:
    """Yield processor and disk to the acquisition; leave no image of the memory behind when the system ends this process."""
    os.nice(nice)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        import psutil

        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
        if nice:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # takes the processor from nobody who wakes up


class _log_to:  # noqa: N801 - reads as a statement
    """Send this process's stdout and stderr to the job's log file while inside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "log.txt"
        with contextlib.suppress(OSError):
            shorten(path)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self._saved = (os.dup(1), os.dup(2))
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # a full disk has no room for the last words
                stream.flush()
        for saved, fd in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, fd)
            os.close(saved)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
