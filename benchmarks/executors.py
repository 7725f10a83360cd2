"""What an executor adds to a job, and how many jobs it finishes with one worker and with two. `python -m benchmarks.executors`.

The same jobs (from an acquisition to a checked label, 8 x 128 x 128 voxels) as bare function calls in this process, in a worker
process, and on a dask cluster of this machine; warm, one after the other. What they make is compared file by file.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alcore.run import QuietContext, stage
from benchmarks.table import machine
from daemon.executors.port import Executor, Finished, Order, Places
from daemon.executors.process import Lane, ProcessExecutor
from tests.daemon.executors.chain import STAGES, Chain, acquisition, digests
from tests.daemon.executors.clusters import RealCluster, connected

KINDS = ("call", "process", "dask")
TIMES, JOBS = 20, 24
Run = Callable[[Order], float]
Seconds = dict[str, dict[str, list[float]]]


def places_in(folder: Path) -> Places:
    return Places(folder / "artifacts", folder / "cache", folder / "jobs")


def called(places: Places) -> Run:
    """The stage and nothing else: no manifest, no hashes, nothing made durable. It is made again by what the others do."""

    def run(order: Order) -> float:
        from daemon.executors.inline import InlineExecutor

        with tempfile.TemporaryDirectory() as out:
            context = QuietContext(Path(out) / "scratch", places.cache.with_name("cache-of-calls"))
            for name in ("made", "scratch"):
                (Path(out) / name).mkdir()
            began = time.perf_counter()
            stage(order.stage).run(order.inputs, order.params, Path(out) / "made", context)
            took = time.perf_counter() - began
        InlineExecutor(places, queue.SimpleQueue()).start(order)
        return took

    return run


def ordered(executor: Executor, reports: queue.SimpleQueue[Any]) -> Run:
    """From the order to the word that it is done."""

    def run(order: Order) -> float:
        while not executor.free(order.long, order.stage):
            time.sleep(0.001)
        began = time.perf_counter()
        executor.start(order)
        while not isinstance(said := reports.get(timeout=120), Finished):
            pass
        assert said.outcome == "done", said
        return time.perf_counter() - began

    return run


@contextlib.contextmanager
def executors(root: Path, lanes: int, kinds: Sequence[str]) -> Iterator[dict[str, tuple[Places, Executor, Any]]]:
    """Processes with so many lanes; a cluster with so many workers, each for one job at a time."""
    with contextlib.ExitStack() as stack:
        made: dict[str, tuple[Places, Executor, Any]] = {}
        for kind in kinds:
            places, reports = places_in(root / f"{kind}-{lanes}"), queue.SimpleQueue[Any]()
            executor: Any
            if kind == "process":
                executor = ProcessExecutor(places, reports, [Lane(False, 1)] * lanes, 0)
            else:
                folder = root / f"cluster-{lanes}"
                folder.mkdir()
                cluster = stack.enter_context(RealCluster(folder))
                cluster.start_scheduler()
                for _ in range(lanes):
                    cluster.start_worker(cluster.address, "--nthreads", "1")
                executor = connected(cluster.address, places, reports)
                while len(executor._watch.workers) < lanes:
                    time.sleep(0.05)
            stack.callback(executor.shutdown, 0.0)
            made[kind] = (places, executor, reports)
        yield made


def overhead(root: Path, times: int) -> tuple[Seconds, list[str]]:
    """Seconds of each job by stage and kind, in turns; and the stages whose files differ."""
    sources = [acquisition(root / f"{i}.tif", i) for i in range(times + 1)]
    found: Seconds = {name: {kind: [] for kind in KINDS} for name in STAGES}
    unlike: list[str] = []
    with executors(root, 1, KINDS[1:]) as there:
        places = {"call": places_in(root / "call"), **{kind: known[0] for kind, known in there.items()}}
        runs = {"call": called(places["call"]), **{kind: ordered(*known[1:]) for kind, known in there.items()}}
        chains = {kind: Chain(places[kind]) for kind in KINDS}
        for number, source in enumerate(sources):
            for orders in zip(*(chains[kind].orders(source) for kind in KINDS), strict=True):
                for kind, order in zip(KINDS, orders, strict=True):
                    took = runs[kind](order)
                    if number or order.stage == "encoder":  # the first of each kind imports what it needs
                        found[order.stage][kind].append(took)
                made = [digests(places[kind], order.key) for kind, order in zip(KINDS, orders, strict=True)]
                if any(other != made[0] for other in made) and orders[0].stage not in unlike:
                    unlike.append(orders[0].stage)
    return found, unlike


def throughput(root: Path, lanes: int, jobs: int) -> dict[str, float]:
    """Jobs that are done in a second (pseudo-labelling), by kind."""
    found = {}
    with executors(root, lanes, KINDS[1:]) as there:
        for kind, (places, executor, reports) in there.items():
            orders = []
            for i in range(jobs + lanes):
                chain = Chain(places, n=10 * i)
                waiting = chain.orders(acquisition(root / f"t{i}.tif", i, (16, 256, 256)))
                ordered(executor, reports)(next(waiting))
                orders.append(next(waiting))
            warm, rest = orders[:lanes], orders[lanes:]
            finish(executor, reports, warm)
            began = time.perf_counter()
            finish(executor, reports, rest)
            found[kind] = jobs / (time.perf_counter() - began)
    return found


def finish(executor: Executor, reports: queue.SimpleQueue[Any], orders: Sequence[Order]) -> None:
    """As the daemon does it: whatever is free gets the next one, whenever something is heard."""
    waiting, left = list(orders), len(orders)
    while left:
        while waiting and executor.free(False, waiting[0].stage):
            executor.start(waiting.pop(0))
        with contextlib.suppress(queue.Empty):
            said = reports.get(timeout=0.05)
            assert not isinstance(said, Finished) or said.outcome == "done", said
            left -= isinstance(said, Finished)


def tables(times: int = TIMES, jobs: int = JOBS) -> int:
    """Measure and print both; returns 0 when all made the same files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "overhead").mkdir()
        seconds, unlike = overhead(Path(folder) / "overhead", times)
        done = {}
        for lanes in (1, 2):
            (Path(folder) / f"lanes-{lanes}").mkdir()
            done[lanes] = throughput(Path(folder) / f"lanes-{lanes}", lanes, jobs)
    first = Table(title=f"executors, on {machine()}: milliseconds of a job, median of {times}")
    for heading in ("stage", "bare call", "process", "adds", "dask", "adds"):
        first.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, by_kind in seconds.items():
        ms = {kind: 1e3 * statistics.median(took) for kind, took in by_kind.items()}
        added = {kind: f"{ms[kind] - ms['call']:.0f}" for kind in KINDS[1:]}
        first.add_row(
            name, f"{ms['call']:.1f}", f"{ms['process']:.1f}", added["process"], f"{ms['dask']:.1f}", added["dask"]
        )
    second = Table(title=f"jobs in a second, pseudo-labelling 16 x 256 x 256, {jobs} jobs")
    for heading in ("executor", "1 worker", "2 workers", "ratio"):
        second.add_column(heading, justify="left" if heading == "executor" else "right")
    for kind in KINDS[1:]:
        one, two = done[1][kind], done[2][kind]
        second.add_row(kind, f"{one:.2f}", f"{two:.2f}", f"{two / one:.2f}")
    console = Console()
    console.print(first)
    console.print(second)
    console.print("all make the same files" if not unlike else f"NOT the same files: {', '.join(unlike)}")
    return int(bool(unlike))


def main() -> int:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="jobs of each stage [default: %(default)s]")
    parser.add_argument("--jobs", type=int, default=JOBS, help="jobs for the throughput [default: %(default)s]")
    arguments = parser.parse_args()
    return tables(arguments.times, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
