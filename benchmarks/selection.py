"""Core-set selection: all peers in one run, with distance evaluations beside the times. `python -m benchmarks.selection`.

`--largest 100000` leaves out the larger pools, `--kinds uniform` all but some data, `--out FILE` keeps the tables as markdown. Takes
about ten minutes and 6 GB. A peer that needs longer than `--patience` seconds is stopped, and its time for k picks is what it took
times the picks that were left over; such figures are marked with the picks that were timed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alcore.coreset import Frontier, best_engine, continue_from, select
from alcore.simulation.table import markdown
from alcore.types import PoolPosition
from benchmarks import selection_data
from benchmarks.selection_peers import PEERS, Float32, Picks, brute_force, torch_running, triple_loop
from benchmarks.table import machine

SIZES = (10_000, 100_000, 1_000_000)
KS = (100, 1000)
SEEDS = 3
ENGINES = ("dense", "bounds 16", "bounds 64")
BOUNDS_BELOW = 100_000
"""Bounds are not timed on more rows of data on which they are of no use."""
REFERENCE_S = 60.0
"""How long the brute force may take: a thousand picks from a million rows need half of it on two idle cores."""
WARM = """
import time, numpy as np
begin = time.perf_counter()
import alcore.coreset as c
rows = np.random.default_rng(0).normal(size=(20000, 64)); rows /= np.linalg.norm(rows, axis=1, keepdims=True)
imported = time.perf_counter()
for engine in ("dense", "bounds 16"): c.select(rows.astype(np.float32), 20, [], np.random.default_rng(0), engine=engine)
print(imported - begin, time.perf_counter() - imported)
"""


@dataclass(frozen=True)
class Run:
    """What one way needed for k picks. timed: picks that were really timed, fewer than k when it was stopped."""

    seconds: float
    distances: float
    picks: list[int]
    timed: int

    def cell(self, k: int) -> str:
        """Seconds, and how many picks were timed if not all."""
        return f"{self.seconds:.3g} s" + (f" ({self.timed} timed)" if self.timed < k else "")


def of_peer(
    make: Callable[[Float32, list[int]], Picks], rows: Float32, k: int, seeds: list[int], patience: float
) -> Run:
    """Let a peer pick until it has k or has used up the patience."""
    picks, begin, first, evaluated = list(seeds), time.perf_counter(), 0.0, 0
    for position, so_far in make(rows, seeds):
        picks.append(position)
        evaluated = so_far
        took = time.perf_counter() - begin
        first = first or took
        if len(picks) == k or took > patience:
            break
    timed = len(picks)
    rest = (took - first) / max(1, timed - SEEDS - 1) if timed > SEEDS + 1 else took
    per_pick = (evaluated - len(rows) * SEEDS) / max(1, timed - SEEDS - 1) if timed > SEEDS + 1 else 0
    return Run(took + rest * (k - timed), evaluated + per_pick * (k - timed), picks, timed)


def of_ours(engine: str, rows: Float32, k: int, seeds: list[int]) -> tuple[str, Run]:
    """The engine that was used, and what it needed, everything that has to be built and decided included."""
    begin = time.perf_counter()
    basis = None
    if engine == "auto":
        engine, basis = best_engine(rows, k)
    covered = [PoolPosition(s) for s in seeds]
    frontier = Frontier(rows, covered, engine, basis=basis)
    rest = continue_from(frontier, k - SEEDS, np.random.default_rng(0))
    seconds = time.perf_counter() - begin
    return engine, Run(seconds, frontier.work.distances(rows.shape[1]), seeds + [int(p.position) for p in rest], k)


def bulk(kind: str, rows: Float32, patience: float, gpu: bool) -> list[list[str]]:
    """One line per way to pick, for both k."""
    table = []
    n, seeds = len(rows), [int(p) for p in np.random.default_rng(1).choice(len(rows), SEEDS, replace=False)]
    truth = of_peer(brute_force, rows, max(KS), seeds, REFERENCE_S).picks
    for k in KS:
        numpy_s = 0.0
        runs: list[tuple[str, Run]] = []
        for name, peer in PEERS.items():
            runs.append((name, of_peer(peer, rows, k, seeds, patience)))
            numpy_s = numpy_s or runs[0][1].seconds
        if gpu:
            runs.append(
                (
                    "torch running maximum, GPU",
                    of_peer(lambda r, s: torch_running(r, s, "cuda"), rows, k, seeds, patience),
                )
            )
        engines = ENGINES if n <= BOUNDS_BELOW or kind.startswith("EM") else ENGINES[:1]
        for engine in (*engines, *(("cuda",) if gpu else ()), "auto"):
            used, run = of_ours(engine, rows, k, seeds)
            runs.append((f"**ours**, chose {used}" if engine == "auto" else f"ours, {engine}", run))
        for name, run in runs:
            both = min(len(run.picks), len(truth), k)
            same = next((i for i in range(both) if run.picks[i] != truth[i]), both)
            table.append(
                [
                    kind,
                    f"{n:,}",
                    str(k),
                    name,
                    run.cell(k),
                    f"{numpy_s / run.seconds:.3g}x",
                    f"{run.distances / (n * k):.4f}",
                    f"{same} of {both}" if same < both else f"all {both}",
                ]
            )
            print(" | ".join(table[-1]), flush=True)
    return table


def against_the_authors(rows: Float32) -> list[list[str]]:
    """n = 1024, as small as the authors' own pools."""
    table, rows = [], np.ascontiguousarray(rows[:1024])
    seeds = [3, 500, 77]
    for k in (128, 512):
        truth = of_peer(brute_force, rows, k, seeds, 1e9).picks
        loop = of_peer(triple_loop, rows, k, seeds, 1e9)
        ours = min((of_ours("auto", rows, k, seeds)[1] for _ in range(5)), key=lambda run: run.seconds)
        peer = min(
            (of_peer(PEERS["numpy running maximum"], rows, k, seeds, 1e9) for _ in range(5)), key=lambda r: r.seconds
        )
        for name, run in (("the authors' loop", loop), ("numpy running maximum", peer), ("**ours**", ours)):
            same = next((i for i in range(k) if run.picks[i] != truth[i]), k)
            table.append(
                [
                    "1,024",
                    str(k),
                    name,
                    run.cell(k),
                    f"{loop.seconds / run.seconds:.3g}x",
                    f"{same} of {k}" if same < k else f"all {k}",
                ]
            )
            print(" | ".join(table[-1]), flush=True)
    return table


def timed_ms(action: Callable[[int], object], n: int) -> list[float]:
    """Milliseconds of each of n calls."""
    found = []
    for i in range(n):
        begin = time.perf_counter()
        action(i)
        found.append(1000 * (time.perf_counter() - begin))
    return found


def incremental(kind: str, rows: Float32, engine: str) -> list[list[str]]:
    """Continuing from 1000 labels while patches come and suggestions are withdrawn."""
    spare = 64 * 50
    pool, late = rows[:-spare], rows[-spare:]
    labels = [p.position for p in select(pool, 1000, [], np.random.default_rng(0), engine="dense")]
    nearest = (pool[:, :8] @ pool[labels[0], :8]).copy()  # only the size of it matters

    def plainly(i: int) -> None:
        np.maximum(nearest, pool @ pool[labels[i]], out=nearest)
        nearest.argmin()

    plain = timed_ms(plainly, 12)
    begin = time.perf_counter()
    frontier = Frontier(pool, labels, engine)
    frontier.next()
    restart = time.perf_counter() - begin
    rng = np.random.default_rng(0)

    def take(i: int) -> None:
        pick = frontier.next()
        assert pick is not None
        frontier.cover([pick.position])

    def arrive(i: int) -> None:
        frontier.add_points(late[64 * i : 64 * i + 64])
        frontier.next()

    def withdraw(among: int) -> Callable[[int], None]:
        def act(i: int) -> None:
            frontier.withdraw(frontier.covered[-1 - int(rng.integers(among))])
            frontier.next()

        return act

    taken = timed_ms(take, 1000)
    lines = [
        ("next suggestion and its label, 1000 in a row", taken),
        ("64 new patches and the next suggestion", timed_ms(arrive, 50)),
        ("one of the 50 newest withdrawn, and the next", timed_ms(withdraw(50), 50)),
        ("any one withdrawn, and the next", timed_ms(withdraw(1000), 50)),
    ]
    table = [
        [kind, engine, "plain: one product of the pool and its minimum", *_figures(plain), ""],
        [kind, engine, "restart with 1000 labels, to the next suggestion", f"{1000 * restart:.0f}", "", "", "", ""],
    ]
    for name, found in lines:
        table.append([kind, engine, name, *_figures(found), f"{np.mean(plain) / np.mean(found):.3g}x"])
    for line in table:
        print(" | ".join(line), flush=True)
    return table


def _figures(ms: list[float]) -> list[str]:
    return [f"{np.mean(ms):.3g}", f"{np.median(ms):.2g}", f"{np.percentile(ms, 95):.3g}", f"{max(ms):.3g}"]


def compiling() -> str:
    """Seconds until the first picks in a process of its own: code compiled, and code found compiled."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        said = [
            subprocess.run(
                [sys.executable, "-c", WARM], env=environment, capture_output=True, text=True, check=True
            ).stdout
            for _ in range(2)
        ]
    (imported, first), (again, second) = ([float(x) for x in s.split()] for s in said)
    return (
        f"Compiling, once per machine: first picks after {first:.1f} s (import {imported:.1f} s); "
        f"in later processes after {second:.1f} s (import {again:.1f} s). Times below leave this out."
    )


def warm_up(gpu: bool) -> None:
    """Let everything import and compile what it needs."""
    few = selection_data.uniform(2000, np.random.default_rng(0))
    for peer in (*PEERS.values(), brute_force, triple_loop):
        of_peer(peer, few[:100], 5, [0, 1, 2], 60.0)
    for engine in (*ENGINES, *(("cuda",) if gpu else ())):
        of_ours(engine, few, 20, [0, 1, 2])


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=max(SIZES))
    parser.add_argument("--kinds", default="em,mixture,uniform")
    parser.add_argument("--patience", type=float, default=4.0, help="seconds for a peer, per number of picks")
    parser.add_argument("--em", type=Path, help="an EM stack (Z, Y, X); default: sbem_mito_z010-039 of $ALSCOPE_DATA")
    parser.add_argument("--out", type=Path, help="write the tables there")
    args = parser.parse_args()
    data = Path(os.environ.get("ALSCOPE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    image = args.em or data / "sbem_mito_z010-039" / "image.tif"
    sizes = [n for n in SIZES if n <= args.largest]
    compiled = compiling()
    print(compiled, flush=True)
    gpu = _has_gpu()
    warm_up(gpu)
    rows: dict[str, list[list[str]]] = {"bulk": [], "authors": [], "incremental": []}
    for kind in args.kinds.split(","):
        if kind == "em" and not image.exists():
            print(f"{image} is not at hand (set ALSCOPE_DATA, or --em): EM features are left out")
            continue
        name = {"em": "EM features", "mixture": "mixture of 500", "uniform": "uniform on the sphere"}[kind]
        rng = np.random.default_rng(0)
        whole = (
            selection_data.em(max(sizes), rng, image)
            if kind == "em"
            else getattr(selection_data, kind)(max(sizes), rng)
        )
        if not rows["authors"]:
            rows["authors"] = against_the_authors(whole[:: len(whole) // 1024])
        for n in sizes:
            rows["bulk"] += bulk(name, np.ascontiguousarray(whole[:: len(whole) // n][:n]), args.patience, gpu)
        if kind != "mixture":
            for engine in ("bounds 16", "dense") if kind == "em" else ("dense",):
                rows["incremental"] += incremental(name, whole, engine)
        del whole
    text = report(rows, compiled, sizes, gpu)
    print(text)
    if args.out:
        args.out.write_text(text)
    return 0


def report(rows: dict[str, list[list[str]]], compiled: str, sizes: list[int], gpu: bool) -> str:
    """The tables as markdown."""
    head = ["data", "n", "k", "way", "time", "against numpy", "distances / (n k)", "picks as float64 brute force"]
    increment = ["data", "engine", "what", "mean ms", "median", "95 %", "worst", "plain / mean"]
    authors = ["n", "k", "way", "time", "against the loop", "picks as float64 brute force"]
    return "\n\n".join(
        [
            f"{datetime.date.today()}, {machine()}, {'with' if gpu else 'no'} GPU. d = {selection_data.DIM}.",
            compiled,
            "### Many picks at once",
            "EM features: " + " ".join((selection_data.em.__doc__ or "").split("\n\n")[1].split()),
            markdown(head, rows["bulk"]),
            "### The authors' loop",
            markdown(authors, rows["authors"]),
            f"### As the pool changes, n = {max(sizes):,}",
            markdown(increment, rows["incremental"]),
            "",
        ]
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
