"""What the encoder does to coverage and to the fast learner's score, on labelled images.

`python -m benchmarks.encoders --pool sbem --out FOLDER [--seeds 10] [--encoders a,b] [--strategies random,coreset,guided]` plays
what is not in FOLDER/<encoder> yet (see `benchmarks.strategies`) and prints a table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.arrays.paired import estimate
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.engine import Engine
from alcore.simulation.pool import LabelledPool, Workshop
from alcore.simulation.results import read_results
from alcore.simulation.table import markdown, written
from benchmarks.labelled_pools import IMAGES, data_folder, pool_of
from benchmarks.pool_embeddings import ENCODERS, params
from benchmarks.strategies import run_of

NEIGHBOURS = 5
FEW, MANY = 1 / 32, 1 / 8
"""Shares of the labels at which coverage is told."""


def likeness(pool: LabelledPool) -> float:
    """Spearman correlation of a patch's true foreground with the mean of its `NEIGHBOURS` nearest patches' in the embedding,
    leaving out those that touch it: whether neighbours in the embedding hold alike content."""
    from scipy.stats import spearmanr

    truth = pool.true_traits["foreground"]
    start, size = pool.places(np.arange(len(pool.boxes)))
    similarity: npt.NDArray[np.float64] = (pool.embeddings @ pool.embeddings.T).astype(np.float64)
    touching = (np.abs(start[:, None] - start[None]) <= size[:, None]).all(-1)
    similarity[touching] = -np.inf
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    return float(spearmanr(truth, truth[near].mean(1)).statistic)


def row(pool: str, encoder: str, strategies: list[str], seeds: int, out: Path, workers: int) -> list[str]:
    """One encoder. Radii of different encoders are distances in different spaces: compare their ratios to random's."""
    folder = (out / encoder).absolute()
    Engine(run_of(pool, encoder, tuple(strategies), seeds, folder), workers, lambda progress: None).play()
    curves = Curves(read_results(folder / "results.csv"), "fast")
    made = pool_of(IMAGES[pool], Workshop(folder / "cache"), data_folder(), encoder=params(encoder))
    cells = [encoder, str(made.embeddings.shape[1]), f"{likeness(made):.2f}"]
    for share in (min(curves.shares, key=lambda s: abs(s - wanted)) for wanted in (FEW, MANY)):
        for figure in ("radius", "distance"):
            found = [curves.mean(Arm(strategy, 0), share, figure) for strategy in strategies]
            cells.append(" / ".join("-" if value is None else f"{value.mean:.3f}" for value in found))
    for strategy in strategies:
        for figure in ("f1", "dice"):
            area = estimate(curves.areas(Arm(strategy, 0), figure))
            cells.append("-" if area is None else written(area, "score"))
    return cells


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="sbem", choices=IMAGES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--strategies", default="random,coreset,guided")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    strategies = args.strategies.split(",")
    rows = [
        row(args.pool, encoder, strategies, args.seeds, args.out, args.workers) for encoder in args.encoders.split(",")
    ]
    order = " / ".join(strategies)
    covering = [f"{what} @{n}, {order}" for n in ("1/32", "1/8") for what in ("covering radius", "mean distance")]
    areas = [f"area {strategy} {figure}" for strategy in strategies for figure in ("F1", "Dice")]
    print(markdown(["encoder", "dim", "likeness of neighbours", *covering, *areas], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
