"""How long the next suggestion takes in a pool that `benchmarks.scale` made, with the real worker; prints what it took as JSON.

`python -m benchmarks.scale_once <folder of the pool>`
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.dashboard import frame
from benchmarks.ingest_once import peak_mb
from benchmarks.scale import best
from benchmarks.scale_pool import Artifacts, boxes
from daemon.executors.port import Reports
from daemon.executors.process import Lane, ProcessExecutor
from daemon.store.report import snapshot
from daemon.view import PAGES
from tests.daemon.pool import Pool

LONGEST_S = 900.0
TURNS = 7
"""Volumes that arrive."""


class Daemon:
    """The engine on a pool at rest, with a worker process for short jobs and none for long ones."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.fresh_worker()

    def fresh_worker(self) -> None:
        """The one before has had nothing to do for a while, and gave its memory back."""
        pool = self.pool
        if isinstance(pool.executor, ProcessExecutor):
            pool.executor.shutdown(1.0)
        self._reports: Reports = queue.SimpleQueue()
        places, nice = pool.workspace.places, pool.settings.run.nice
        self.executor = ProcessExecutor(places, self._reports, [Lane(False, 1)], nice)
        pool.executor = self.executor  # type: ignore[assignment]
        pool.engine = replace(pool.engine, executor=self.executor, clock=lambda: pool.now)
        pool.planning = pool.engine.planning

    def until(self, done: Callable[[], bool]) -> float:
        """Seconds of events and ticks until it is so."""
        began = time.perf_counter()
        while not done():
            assert time.perf_counter() - began < LONGEST_S, "it takes for ever"
            with contextlib.suppress(queue.Empty):
                self.pool.engine.handle(self._reports.get(timeout=0.02))
                continue
            self.pool.now = time.time()
            self.pool.engine.tick()
        return time.perf_counter() - began

    def n_made(self) -> int:
        return self.pool.store.selection.n_made()

    def next_suggestions(self) -> float:
        """Half of the queue is skipped; seconds until there are more."""
        waiting = snapshot(self.pool.workspace.root, self.pool.now).queue
        for item in waiting[: len(waiting) // 2 + 1]:
            self.pool.store.annotation.move(item.id, "skipped", "", self.pool.now)
            self.pool.store.annotation.set_published(item.id, False)
        before = self.n_made()
        took = self.until(lambda: self.n_made() > before)
        for made in self.pool.store.annotation.unpackaged():  # a folder needs its volume, which is not there
            self.pool.store.annotation.packaged(made.id, self.pool.artifact(f"package-{made.id}"))
            self.pool.store.annotation.set_published(made.id, True)
        return took


def arrived(pool: Pool, number: int, write: Artifacts) -> None:
    """One more volume, with all that is made of it before patches are chosen."""
    pool.ingested(number, 1)
    volume = pool.volumes()[-1]
    planner, encoder = pool.planning.planner, pool.store.encoders.in_use()["current"]
    labeler = pool.planning.pool.pseudo.labeler(pool.now)
    pseudo = pool.done(planner.pseudo(volume, labeler), {"n_objects": 3})
    pool.done(planner.traits(volume, pseudo.key), {"n": len(pool.patches)})
    pool.done(planner.embedding(volume, encoder), {"n": len(pool.patches), "dim": 192})
    write.write([volume.id])


def main() -> int:
    """Start afresh, choose, let a volume arrive, choose again."""
    root = Path(sys.argv[1])
    with contextlib.closing(Pool(root, boxes())) as pool:
        n = len(pool.volumes())
        started = time.perf_counter()
        pool.engine.start()
        found = {"volumes": n, "engine start": time.perf_counter() - started}
        found["whole look"] = best(pool.whole_look, 3)
        found["rest"] = best(pool.engine.tick, 3)
        found["snapshot"] = best(lambda: snapshot(pool.workspace.root, pool.now), 3)
        found["frame"] = max(frame(pool, page, 200, 60, None, 5) for page in PAGES) / 1e3
        daemon = Daemon(pool)
        try:
            found["first suggestions of this workspace"] = daemon.next_suggestions()
            os.sync()  # index and blocks of the whole pool were written at once, which a pool that grows never does
            daemon.fresh_worker()
            found["first suggestions, cold worker"] = daemon.next_suggestions()
            found["more suggestions"] = daemon.next_suggestions()
            write = Artifacts(pool, seed=1)
            for turn in range(TURNS):
                arrived(pool, n + turn, write)
                found[f"after one new volume, {turn + 1}"] = daemon.next_suggestions()
            (worker,) = psutil.Process().children()
            found["RSS of the worker"] = worker.memory_info().rss / 1e6
        finally:
            daemon.executor.shutdown(1.0)
        found["peak RSS of the engine"] = peak_mb()
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
