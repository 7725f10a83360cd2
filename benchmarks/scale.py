"""What planner, status, start and the next suggestion cost by the size of the pool. `python -m benchmarks.scale`.

Limits at a million patches: status under 0.5 s, the next suggestion after a new volume under 1 s, start to ready under 10 s.
Afterwards what executors add to a job, and the throughput with one and two workers (`benchmarks.executors`). `benchmarks.ingest` prints
`scale()`, the parts with ten thousand volumes, as well; `benchmarks.scale_beyond` goes to fifty million.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.table import Row, show
from daemon.store import listing
from daemon.store.connection import DATABASE, open_reader
from daemon.store.report import snapshot
from tests.daemon.pool import Pool

N = 10_000
TICK_MS = 50.0
SNAPSHOT_MS = 150.0
STATUS_S = 0.5
SUGGESTION_S, READY_S = 1.0, 10.0
FRAME_MS = 50.0


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


def whole(root: Path, patches: int) -> list[Row]:
    """A real daemon on a pool of so many patches, and then the engine with a real worker, each in a process of its own."""
    from benchmarks.footprint import running, status

    name = f"{patches:,} patches: "
    queue = [sys.executable, "-m", "daemon.cli.main", "--config", str(root / "config.toml"), "queue"]
    subprocess.run([sys.executable, "-m", "benchmarks.scale_pool", str(root), str(patches)], check=True)
    with running(root / "config.toml") as (daemon, _, ready):
        time.sleep(5.0)
        rows = [
            Row(f"{name}start to ready", ready, "s", READY_S),
            Row(f"{name}daemon, RSS", psutil.Process(daemon.pid).memory_info().rss / 1e6, "MB"),
            Row(f"{name}alscope status", status(root / "config.toml")[0].value, "s", STATUS_S),
            Row(
                f"{name}alscope queue",
                best(lambda: subprocess.run(queue, capture_output=True, check=True), 3),
                "s",
                STATUS_S,
            ),
        ]
        daemon.terminate()
        daemon.wait(30)
    once = [sys.executable, "-m", "benchmarks.scale_once", str(root)]
    found = json.loads(subprocess.run(once, check=True, stdout=subprocess.PIPE).stdout)
    arrived = statistics.median(seconds for what, seconds in found.items() if what.startswith("after one new volume"))
    return [
        *rows,
        Row(f"{name}frame of the dashboard, the slowest page", 1e3 * found["frame"], "ms", FRAME_MS),
        Row(f"{name}whole look of the planner", 1e3 * found["whole look"], "ms"),
        Row(f"{name}tick where nothing has changed", 1e3 * found["rest"], "ms"),
        Row(f"{name}next suggestions, first ones ever", found["first suggestions of this workspace"], "s"),
        Row(f"{name}next suggestions, first ones of a worker", found["first suggestions, cold worker"], "s"),
        Row(f"{name}next suggestions", found["more suggestions"], "s"),
        Row(f"{name}next suggestions after a new volume, median of 7", arrived, "s", SUGGESTION_S),
        Row(f"{name}worker, RSS", found["RSS of the worker"], "MB"),
        Row(f"{name}engine, peak RSS", found["peak RSS of the engine"], "MB"),
    ]


def main() -> int:
    """One pool after the other, each thrown away before the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--patches",
        default="1000,100000,1000000",
        help="sizes [default: %(default)s]; a million takes 15 minutes and 5 GB",
    )
    rows: list[Row] = []
    for patches in (int(text) for text in parser.parse_args().patches.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows += whole(Path(folder), patches)
    from benchmarks import executors

    return max(show("scale", rows), executors.tables())


if __name__ == "__main__":
    sys.exit(main())
