"""Rows of a run as learning curves: what each arm (a strategy, with or without pre-training) scored at which share of the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alcore.arrays.paired import Estimate, Floats, area, estimate, ratio
from alcore.simulation.results import Row

NONE, ALL = "none", "all"
"""Strategies of rows that serve every strategy: no label and every label."""
NEAR = 0.1
"""Doublings within which a share counts as the power of a half beside it, where pools of different sizes are put together."""

Region = tuple[str, int]


@dataclass(frozen=True, order=True)
class Arm:
    """What is compared: one curve per region and seed."""

    strategy: str
    pretrained: int

    def title(self, starts: bool) -> str:
        """In words; starts: say whether it is pre-trained."""
        if not starts:
            return self.strategy
        return f"{self.strategy} ({'pre-trained' if self.pretrained else 'from scratch'})"


@dataclass(frozen=True)
class Asked:
    """What a finished simulation of a learner holds: runs, and arms in each of them."""

    learner: str
    n_runs: int
    arms: frozenset[Arm]


class Curves:
    """The rows of one learner. shares: of labels at which an arm has a point, ascending; 0 is none, 1.0 all of them.

    A run is a region and a seed. Of an unfinished simulation only those runs count in which every arm has all its points: means
    over different runs cannot be compared. Where there is none yet, all count. n_wanted: runs that there are to be.
    """

    def __init__(self, rows: Sequence[Row], learner: str, asked: Asked | None = None) -> None:
        self.learner = learner
        self.rows = [row for row in rows if row.learner == learner]
        share = _shares(self.rows)
        self._at = {
            (
                row.pool,
                row.split,
                row.seed,
                row.strategy,
                row.pretrained,
                share[row.pool, row.n_labels, row.n_pool],
            ): row
            for row in self.rows
        }
        self.arms = sorted({Arm(r.strategy, r.pretrained) for r in self.rows if r.strategy not in (NONE, ALL)})
        begun = sorted({(row.pool, row.split, row.seed) for row in self.rows})
        self.shares = [
            s
            for s in sorted(set(share.values()))
            if any(self._row(*run, arm, s) is not None for run in begun for arm in self.arms)
        ]
        known = asked if asked is not None and asked.learner == learner else Asked(learner, 0, frozenset())
        self.n_wanted = max(len(begun), known.n_runs)
        complete = self._complete(begun, known.arms)
        self.n_complete = len(complete)
        self.runs = complete or begun
        self._counted = set(self.runs)
        sizes = {row.n_pool for row in self.rows}
        self.n_pool = sizes.pop() if len(sizes) == 1 else None
        self.n_nan = sum(math.isnan(row.f1) for row in self.rows)

    @property
    def starts(self) -> bool:
        """Are there arms with and without pre-training?"""
        return len({arm.pretrained for arm in self.arms}) == 2

    @property
    def regions(self) -> list[Region]:
        """Test regions of all pools."""
        return sorted({(pool, split) for pool, split, _ in self.runs})

    @property
    def seeds(self) -> list[int]:
        """Of all runs."""
        return sorted({seed for _, _, seed in self.runs})

    def size(self, share: float) -> str:
        """A share as the heading of a column: patches, where all pools have equally many, and per cent."""
        per_cent = f"{100 * share:.3g} %"
        return per_cent if self.n_pool is None else f"{round(share * self.n_pool)} ({per_cent})"

    def values(self, arm: Arm, share: float, figure: str) -> dict[Region, Floats]:
        """{region: (seeds,)} of one column of results.csv, NaN where it was not played: always all seeds, in their order."""
        found: dict[Region, list[float]] = {region: [] for region in self.regions}
        for pool, split in self.regions:
            for seed in self.seeds:
                row = self._row(pool, split, seed, arm, share) if (pool, split, seed) in self._counted else None
                found[pool, split].append(math.nan if row is None else float(getattr(row, figure)))
        return {region: np.array(values, np.float64) for region, values in found.items()}

    def mean(self, arm: Arm, share: float, figure: str) -> Estimate | None:
        """Of one point of a curve."""
        return estimate(self.values(arm, share, figure))

    def over_seeds(self, arm: Arm, share: float, figure: str) -> Estimate | None:
        """Of one point of a curve, its interval that of the seeds on these very regions."""
        return estimate(self.values(arm, share, figure), math.inf)

    def of_all(self, arm: Arm, share: float, figure: str) -> Estimate | None:
        """A score as a share of what the same arm reaches with all labels."""
        return ratio(self.values(arm, share, figure), self.values(arm, 1.0, figure))

    def areas(self, arm: Arm, figure: str) -> dict[Region, Floats]:
        """{region: (seeds,)} area under score against log2(share), from the fewest labels to all; NaN where a point is missing.

        The same shares for every arm: all that are above 0. NaN too where there are fewer than two.
        """
        positive = [share for share in self.shares if share > 0]
        points = [self.values(arm, share, figure) for share in positive]
        if len(positive) < 2:
            return {region: np.full(len(self.seeds), np.nan) for region in self.regions}
        return {region: area(positive, np.stack([p[region] for p in points], -1)) for region in self.regions}

    def share_for(self, arm: Arm, part: float, figure: str = "f1") -> float | None:
        """Share of the labels at which the mean curve first reaches `part` of its score with all labels, log2-interpolated.

        None where a point of the curve is missing or nothing is reached.
        """
        positive = [share for share in self.shares if share > 0]
        curve = [self.mean(arm, share, figure) for share in positive]
        scores = [point.mean for point in curve if point is not None]
        if len(scores) < len(positive) or positive[-1] != 1.0 or scores[-1] <= 0:
            return None
        wanted = part * scores[-1]
        nothing = self.mean(arm, 0.0, figure) if 0.0 in self.shares else None
        if nothing is not None and nothing.mean >= wanted:
            return 0.0
        for n, score in enumerate(scores):
            if score >= wanted:
                if n == 0:
                    return positive[0]
                low, high = np.log2(positive[n - 1]), np.log2(positive[n])
                return float(2 ** (low + (high - low) * (wanted - scores[n - 1]) / (score - scores[n - 1])))
        return None

    def minutes_for(self, arm: Arm, share: float) -> float | None:
        """Of the expert, for so large a share of the labels: interpolated between the points of the mean curve."""
        points = [(s, self.mean(arm, s, "minutes")) for s in self.shares if s > 0]
        known = [(s, point.mean) for s, point in points if point is not None]
        if not known or share > known[-1][0]:
            return None
        shares, minutes = zip((0.0, 0.0), *known, strict=True)
        return float(np.interp(share, shares, minutes))

    def _complete(self, begun: Sequence[tuple[str, int, int]], asked: frozenset[Arm]) -> list[tuple[str, int, int]]:
        """Runs in which every arm, and each that is asked for, has a point at each share that its pool was played at."""
        shares: dict[str, set[float]] = {}
        for pool, *_, share in self._at:
            if share > 0:
                shares.setdefault(pool, set()).add(share)
        arms = asked | set(self.arms)
        return [
            run
            for run in begun
            if all(self._row(*run, arm, share) is not None for arm in arms for share in shares.get(run[0], ()))
        ]

    def _row(self, pool: str, split: int, seed: int, arm: Arm, share: float) -> Row | None:
        for strategy in (arm.strategy, NONE if share == 0 else ALL if share == 1 else ""):
            row = self._at.get((pool, split, seed, strategy, arm.pretrained, share))
            if row is not None:
                return row
        return None


def learners(rows: Sequence[Row]) -> list[str]:
    """Names, sorted."""
    return sorted({row.learner for row in rows})


def _shares(rows: Sequence[Row]) -> dict[tuple[str, int, int], float]:
    """Share of the labels by (pool, n_labels, n_pool). Pools of different sizes have doubling steps that are not quite the same
    shares (12 of 100, 6 of 48): these are put together under the power of a half, unless that would make one of two steps."""
    exact = {(r.pool, r.n_labels, r.n_pool): r.n_labels / r.n_pool for r in rows}
    if len({n_pool for _, _, n_pool in exact}) == 1:
        return exact
    rounded = {key: _power(share) for key, share in exact.items()}
    return exact if len({(key[0], share) for key, share in rounded.items()}) < len(exact) else rounded


def _power(share: float) -> float:
    if share <= 0:
        return 0.0
    doublings = math.log2(share)
    return 2.0 ** round(doublings) if abs(doublings - round(doublings)) < NEAR else share
