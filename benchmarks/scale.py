"""What planner, status and start cost with ten thousand volumes that are known already."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import Row
from daemon.store import listing
from daemon.store.connection import DATABASE, open_reader
from daemon.store.report import snapshot
from tests.daemon.pool import Pool

N = 10_000
TICK_MS = 50.0
SNAPSHOT_MS = 150.0
STATUS_S = 0.5


def scale() -> list[Row]:
    """The best of ten, in a pool where nothing is left to do."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Pool(Path(folder))) as pool:
        pool.at_rest(N)
        database = pool.workspace.root / DATABASE
        command = [sys.executable, "-m", "daemon.cli.main", "--config", str(pool.config), "status"]
        with contextlib.closing(open_reader(database)) as db:
            rows = [
                Row(f"planner tick, {N} volumes", 1e3 * best(pool.whole_look), "ms", TICK_MS),
                Row("the same where nothing has changed", 1e3 * best(pool.engine.tick), "ms"),
                Row("engine start", 1e3 * best(pool.engine.start), "ms"),
                Row("snapshot", 1e3 * best(lambda: snapshot(pool.workspace.root, pool.now)), "ms", SNAPSHOT_MS),
                Row("list of all volumes", 1e3 * best(lambda: listing.sources(db, pool.now)), "ms"),
                Row(
                    "alscope status",
                    best(lambda: subprocess.run(command, capture_output=True, check=False)),
                    "s",
                    STATUS_S,
                ),
            ]
        rows += suggesting(pool)
        pool.settled(N, N)
        pool.executor.slots = {False: 0, True: 0}
        rows.append(Row(f"planner tick, {N} more wait to be read", 1e3 * best(pool.whole_look), "ms", TICK_MS))
    return rows


def suggesting(pool: Pool) -> list[Row]:
    """What a job on the whole pool costs to plan, and what is left of it in the database."""
    for item in snapshot(pool.workspace.root, pool.now).queue:
        pool.store.annotation.move(item.id, "skipped", "", pool.now)
        pool.store.annotation.set_published(item.id, False)
    began = time.perf_counter()
    (wanted,) = pool.planning.selection.suggestions(pool.now)
    number = pool.store.jobs.want(wanted, pool.now)
    seconds = time.perf_counter() - began
    assert number is not None
    waiting = sum(len(text) for text in pool.finish(number, {"pool": 8 * N}).stored)
    pool.store.jobs.forget(number)
    job = pool.store.jobs.get(number)
    assert job is not None
    pool.queued(pool.settings.selection.queue_depth)
    return [
        Row("planning suggestions, once per refill", seconds, "s"),
        Row("the same job in the database, while it waits", waiting / 1e6, "MB"),
        Row("and when it is done", sum(len(text) for text in job.stored) / 1e3, "kB", 10.0),
    ]


def best(action: Callable[[], object], times: int = 10) -> float:
    """Seconds of the fastest run: other work on the machine only ever adds to it."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
