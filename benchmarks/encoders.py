"""What the encoder does to coverage and to the fast learner's score, on labelled images.

`python -m benchmarks.encoders --pool sbem --cache FOLDER [--seeds 10] [--encoders a,b]` prints a table. Scores are of the curves that
`benchmarks.strategies play --encoder ...` left in FOLDER; coverage is measured here, without learning anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks import paired
from benchmarks.pool_embeddings import ENCODERS
from benchmarks.strategies import Game, by_split

NEIGHBOURS = 5


def coverage(
    game: Game, strategy: str, n: int, seeds: int
) -> tuple[dict[int, paired.Floats], dict[int, paired.Floats]]:
    """({split: (seeds,)} covering radius, {split: (seeds,)} mean distance) of `n` patches, in cosine distance."""
    radius: dict[int, paired.Floats] = {}
    mean: dict[int, paired.Floats] = {}
    for split in range(game.pool.n_splits):
        found = []
        for seed in range(seeds):
            rows = game.rows_of(split, seed)
            chosen = game.picks(rows, strategy, np.empty(0, np.int64), n, None, 1000 * seed + 10 * split)
            vectors = game.embeddings[rows]
            distance = np.maximum(0.0, 1 - (vectors @ vectors[chosen].T).max(1))
            found.append((distance.max(), distance.mean()))
        radius[split], mean[split] = np.array(found).T
    return radius, mean


def likeness(game: Game) -> float:
    """Spearman correlation of a patch's true foreground with the mean of its `NEIGHBOURS` nearest patches' in the embedding,
    leaving out those that touch it: whether neighbours in the embedding hold alike content."""
    from scipy.stats import spearmanr

    truth = game.traits["truth"]["foreground"]
    start = np.array([b.start for b in game.pool.boxes])
    size = np.array([b.shape for b in game.pool.boxes])
    similarity: npt.NDArray[np.float64] = (game.embeddings @ game.embeddings.T).astype(np.float64)
    touching = (np.abs(start[:, None] - start[None]) <= size[:, None]).all(-1)
    similarity[touching] = -np.inf
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    return float(spearmanr(truth, truth[near].mean(1)).statistic)


def table(pool: str, encoders: list[str], cache: Path, seeds: int) -> str:
    """One row per encoder. Radii of different encoders are distances in different spaces: compare their ratios to random's."""
    rows = []
    for encoder in encoders:
        game = Game(pool, encoder, cache)
        few, many = (8, 32) if 8 in game.budgets else (6, 24)
        row = [encoder, str(game.embeddings.shape[1]), f"{likeness(game):.2f}"]
        for n in (few, many):
            radii, means = {}, {}
            for strategy in ("random", "coreset", "guided"):
                r, m = coverage(game, strategy, n, seeds)
                radii[strategy], means[strategy] = (
                    np.mean([v.mean() for v in r.values()]),
                    np.mean([v.mean() for v in m.values()]),
                )
            row += [
                " / ".join(f"{radii[s]:.3f}" for s in radii),
                " / ".join(f"{means[s]:.3f}" for s in means),
            ]
        points = game.played()
        for strategy in ("coreset", "guided"):
            for figure in ("f1", "dice"):
                data = by_split(points, strategy, game.budgets, figure)
                area = {k: paired.area(game.budgets, v) for k, v in data.items()}
                row.append(paired.plain(paired.interval(area)) if area else "not played")
        rows.append(row)
    parts = [
        f"{what} @{n}, random / coreset / guided" for n in (few, many) for what in ("covering radius", "mean distance")
    ]
    scores = [f"area {s} {f}" for s in ("coreset", "guided") for f in ("F1", "Dice")]
    return paired.markdown(["encoder", "dim", "likeness of neighbours", *parts, *scores], rows)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", default="sbem")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    args = parser.parse_args()
    threadpool_limits(1)
    print(table(args.pool, args.encoders.split(","), args.cache, args.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
