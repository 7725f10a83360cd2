"""Does selection pay? Strategies x budgets x seeds x test regions with the fast learner, on labelled images.

`python -m benchmarks.strategies play --pool sbem --encoder descriptor --cache FOLDER [--seeds 10] [--strategies a,b]` plays what is
not in FOLDER yet (it may be killed and goes on); `... table --pool sbem ...` prints the tables. The same seeds give the same tables.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from alcore import selection
from alcore.arrays import matching
from alcore.fastlearner import learner
from benchmarks import paired
from benchmarks.labelled_pools import IMAGES, Pool, data_folder
from benchmarks.pool_embeddings import cached

Rows = npt.NDArray[np.int64]

BUDGETS = {256: (2, 4, 8, 16, 32, 64, 256), 48: (3, 6, 12, 24, 48)}
"""Labelled patches, in doubling steps, and all, by the number of patches in a pool (half of 256 is as good as all)."""
POOL_SIZE = {"sbem": 256, "sbem-y": 256, "sbem-128": 48, "nuclei": 48, "cells": 48, "fib": 48}
"""A seed's pool is a random draw of so many of a split's patches, the same for all strategies."""
STRATEGIES = {
    # name: (strategy, where its traits come from, whether it sees the learner's uncertainty)
    "random": ("random", None, False),
    "oracle_foreground": ("foreground", "truth", False),
    "foreground": ("foreground", "pseudo", False),
    "coreset": ("coreset", None, False),
    "typiclust": ("typiclust", None, False),
    "herding": ("herding", None, False),
    "uncertainty": ("uncertainty", None, True),
    "guided": ("guided", "pseudo", True),
    "guided_no_model": ("guided", "pseudo", False),
}
MINUTES = (1.0, 0.5)
"""Of an expert, per patch and per object in it."""


@dataclass(frozen=True)
class Played:
    """One point of a curve. radius, distance: largest and mean cosine distance of the pool to its nearest labelled patch."""

    split: int
    seed: int
    strategy: str
    budget: int
    f1: float
    dice: float
    radius: float
    distance: float
    foreground: float
    minutes: float


class Game:
    """One pool with one encoder: plays strategies, and remembers in a CSV what was played."""

    def __init__(self, name: str, encoder: str, cache: Path) -> None:
        self.name, self.size = name, POOL_SIZE[name]
        self.pool = Pool(IMAGES[name], cache, data_folder())
        self.embeddings = cached(self.pool, encoder, cache / "embeddings")
        self.path = cache / "results" / f"{name}-{encoder}.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.traits = {"truth": self.pool.traits(self.pool.labels), "pseudo": self.pool.traits(self.pool.pseudo)}

    @property
    def budgets(self) -> tuple[int, ...]:
        """Numbers of labelled patches."""
        return BUDGETS[self.size]

    def rows_of(self, split: int, seed: int) -> Rows:
        """The patches of one seed's pool."""
        rows, _ = self.pool.split(split)
        return np.sort(np.random.default_rng([split, seed]).choice(rows, self.size, replace=False))

    def play(self, strategies: list[str], seeds: range, say: Any) -> None:
        """Play what is missing; one line of CSV per point."""
        done = {(p.split, p.seed, p.strategy) for p in self.played()}
        wanted = [
            (split, seed, strategy)
            for seed in seeds  # outermost: what is there after a kill is complete for some seeds
            for split in range(self.pool.n_splits)
            for strategy in ("all", *strategies)
            if (split, seed, strategy) not in done
        ]
        began = time.monotonic()
        tests = {split: self.pool.test(self.pool.split(split)[1]) for split in sorted({w[0] for w in wanted})}
        for n, (split, seed, strategy) in enumerate(wanted):
            points = list(self._curve(split, seed, strategy, tests[split]))
            self._remember(points)
            left = (time.monotonic() - began) / (n + 1) * (len(wanted) - n - 1)
            say(f"{n + 1} of {len(wanted)} curves, {left / 60:.0f} min left")

    def _curve(self, split: int, seed: int, strategy: str, test: Any) -> Iterator[Played]:
        rows = self.rows_of(split, seed)
        if strategy == "all":
            yield self._point(split, seed, strategy, rows, np.arange(len(rows)), self._fit(rows, seed), test)
            return
        chosen: Rows = np.empty(0, np.int64)
        model = None
        for step, budget in enumerate(self.budgets[:-1]):
            picks = self.picks(rows, strategy, chosen, budget - len(chosen), model, 1000 * seed + 10 * split + step)
            chosen = np.concatenate([chosen, picks])
            model = self._fit(rows[chosen], seed)
            yield self._point(split, seed, strategy, rows, chosen, model, test)

    def picks(self, rows: Rows, strategy: str, chosen: Rows, n: int, model: learner.Model | None, seed: int) -> Rows:
        """`n` further positions in `rows`; what a strategy does not find eligible is filled up at random, as all do the
        same number of labels."""
        rule, source, looks = STRATEGIES[strategy]
        traits = {k: v[rows] for k, v in self.traits[source].items()} if source else {}
        if looks and model is not None:
            traits |= self._entropy(rows, model)
        boxes = [self.pool.boxes[i] for i in rows]
        pool = selection.Pool(
            self.embeddings[rows],
            np.zeros(len(rows), np.int64),
            np.array([b.start for b in boxes], np.int64),
            np.array([b.shape for b in boxes], np.int64),
            traits,
        )
        request = selection.Request(
            n=n,
            covered=chosen,
            labelled=chosen,
            seed=seed,
            minutes_base=MINUTES[0],
            minutes_per_object=MINUTES[1] if strategy.endswith("_per_minute") else 0.0,
            n_gated=len(chosen) if looks and model is not None else 0,
        )
        picks = np.array([int(c.position) for c in selection.choose(pool, request, rule).choices], np.int64)
        rest = np.setdiff1d(np.arange(len(rows)), np.concatenate([chosen, picks]))
        return np.concatenate([picks, np.random.default_rng(seed).permutation(rest)[: n - len(picks)]])

    def _entropy(self, rows: Rows, model: learner.Model) -> dict[str, npt.NDArray[np.float32]]:
        """Mean predictive entropy (0..1) over voxels predicted background and foreground, per patch, NaN where there is none."""
        looks = [self.pool.patches[i][1] for i in rows]
        probability = model.rows(np.concatenate(looks)).astype(np.float64).reshape(len(rows), -1)
        p = np.clip(probability, 1e-9, 1 - 1e-9)
        entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        found = {}
        for name, part in {"fg": probability > model.threshold, "bg": probability <= model.threshold}.items():
            count = part.sum(1)
            mean = (entropy * part).sum(1) / np.maximum(count, 1)
            found[f"entropy_{name}"] = np.where(count > 0, mean, np.nan).astype(np.float32)
        return found

    def _fit(self, rows: Rows, seed: int) -> learner.Model:
        return learner.fit([self.pool.patches[i][0] for i in rows], seed)

    def _point(
        self, split: int, seed: int, strategy: str, rows: Rows, chosen: Rows, model: learner.Model, test: Any
    ) -> Played:
        image, truth = test
        scores = matching.count(model.segment(image), truth).scores()
        vectors = self.embeddings[rows].astype(np.float64)
        distance = np.maximum(0.0, 1 - (vectors @ vectors[chosen].T).max(1))
        objects = self.traits["truth"]["n_objects"][rows[chosen]].sum()
        return Played(
            split,
            seed,
            strategy,
            len(chosen),
            scores.f1,
            scores.dice,
            round(float(distance.max()), 9),  # a BLAS rounds by where its arrays lie
            round(float(distance.mean()), 9),
            float(self.traits["truth"]["foreground"][rows[chosen]].mean()),
            float(MINUTES[0] * len(chosen) + MINUTES[1] * objects),
        )

    def played(self) -> list[Played]:
        """What was played so far; a curve that was cut off while it was written is not counted."""
        if not self.path.exists():
            return []
        kinds = Played.__annotations__
        with open(self.path, newline="") as file:
            lines = [line for line in csv.DictReader(file) if None not in line.values()]
        return [
            Played(**{k: {"int": int, "float": float, "str": str}[kinds[k]](v) for k, v in line.items()})
            for line in lines
        ]

    def _remember(self, points: list[Played]) -> None:
        """Append the points of one curve in one write."""
        lines = [",".join(str(v) for v in asdict(p).values()) for p in points]
        if not self.path.exists():
            lines.insert(0, ",".join(Played.__annotations__))
        with open(self.path, "a") as file:
            file.write("\n".join(lines) + "\n")


def by_split(points: list[Played], strategy: str, budgets: tuple[int, ...], figure: str) -> dict[int, paired.Floats]:
    """{split: (seeds, budgets)} of one figure; the last budget is that of all labels, the same for every strategy."""
    at = {(p.split, p.seed, p.budget): getattr(p, figure) for p in points if p.strategy in (strategy, "all")}
    runs = sorted({(p.split, p.seed) for p in points if p.strategy == strategy})
    found: dict[int, list[list[float]]] = {}
    for split, seed in runs:
        found.setdefault(split, []).append([at[split, seed, b] for b in budgets])
    return {split: np.array(values) for split, values in found.items()}


def tables(games: list[Game], seeds: range, strategies: list[str]) -> str:
    """Markdown: curves, areas, and paired differences of areas, over the splits of all games.

    Only runs (a split and a seed of `seeds`) that every one of these strategies has played: the others cannot be paired.
    """
    budgets = games[0].budgets
    points = [(100 * n + p.split, p) for n, game in enumerate(games) for p in game.played() if p.seed in seeds]
    merged = [Played(**(asdict(p) | {"split": split})) for split, p in points]
    played = {s: {(p.split, p.seed) for p in merged if p.strategy == s} for s in ("all", *strategies)}
    names = [s for s in strategies if played[s]]
    common = set.intersection(*(played[s] for s in ("all", *names)))
    merged = [p for p in merged if (p.split, p.seed) in common]
    out = []
    for figure, title in (("f1", "F1 at IoU 0.5"), ("dice", "Dice")):
        data = {s: by_split(merged, s, budgets, figure) for s in names}
        areas = {s: {k: paired.area(budgets, v) for k, v in d.items()} for s, d in data.items()}
        rows = []
        for s in names:
            curve = [paired.interval({k: v[:, i] for k, v in data[s].items()}) for i in range(len(budgets))]
            differences = [
                paired.signed(paired.interval({k: areas[s][k] - areas[other][k] for k in areas[s]}))
                if s != other and other in areas
                else ""
                for other in ("coreset", "random", "oracle_foreground")
            ]
            area = paired.plain(paired.interval(areas[s]))
            rows.append([s, *(f"{m:.3f}" for m, _, _ in curve), area, *differences])
        n = sum(len(v) for v in data[names[0]].values())
        out.append(
            f"{title}, mean over {len(data[names[0]])} test regions, {n} runs (budget = labelled patches of {budgets[-1]})\n"
        )
        out.append(
            paired.markdown(["strategy", *map(str, budgets), "area [95 %]", "- coreset", "- random", "- oracle"], rows)
        )
        out.append("")
    rows = []
    for s in names:
        cells = []
        for figure in ("radius", "distance", "foreground", "minutes"):
            values = by_split([p for p in merged if p.strategy == s], s, budgets[:-1], figure)
            for b in (8, 32) if 8 in budgets else (6, 24):
                cells.append(f"{np.mean([v[:, budgets.index(b)].mean() for v in values.values()]):.3f}")
        rows.append([s, *cells])
    b1, b2 = (8, 32) if 8 in budgets else (6, 24)
    head = [f"{f} @{b}" for f in ("covering radius", "mean distance", "true foreground", "minutes") for b in (b1, b2)]
    out.append(paired.markdown(["strategy", *head], rows))
    return "\n".join(out)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["play", "table"])
    parser.add_argument("--pool", required=True, help="comma separated names: " + ", ".join(IMAGES))
    parser.add_argument("--encoder", default="descriptor")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    args = parser.parse_args()
    threadpool_limits(1)
    games = [Game(name, args.encoder, args.cache) for name in args.pool.split(",")]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    if args.what == "table":
        print(tables(games, seeds, args.strategies.split(",")))
        return 0
    for game in games:
        game.play(args.strategies.split(","), seeds, lambda text, g=game: print(g.name, text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
