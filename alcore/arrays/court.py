"""Is a new model better than the one in use? A paired bootstrap on held-out patches, and the rule that promotes.

The rule (`rule`), where "with confidence" means that the end of a 90 % interval says so, which errs one time in twenty:

- A candidate is promoted when it is better with confidence (F1 higher with confidence, and Dice no lower), or when it is
  not worse with confidence (Dice less than 0.01 lower with confidence, and F1 no lower).
- It is refused as worse when F1 is lower with confidence, or Dice lower by more than 0.01 with confidence.
- All else is undecided, and the model in use stays: more held-out patches are what helps.
- With fewer patches than asked for there is no gate: what is not lower on the few there are is promoted, as ungated.

How often it errs is in benchmarks/court.py: between models made from real label volumes it lets through about one in a
hundred that lost more than 0.01 of Dice, and recognises four of five that gained more than 0.03 from 8 patches on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alcore.arrays.matching import Counts

Floats = npt.NDArray[np.float64]

RESAMPLES = 4000
CONFIDENCE = 0.9
"""Of the intervals. The rule looks at one end at a time, which is beyond the truth one time in twenty."""
MARGIN = 0.01
"""A loss of Dice that does not count as one."""
Ruling = Literal["better", "not worse", "worse", "undecided", "ungated, not lower", "ungated, lower"]
LEAST_STRATUM = 4
"""A volume with fewer held-out patches is taken together with the other small ones: a stratum costs a degree of freedom."""


@dataclass(frozen=True)
class Difference:
    """One score of two models on the same patches, and the interval of candidate minus current.

    low, high: None where one patch says nothing about the next (a single one).
    """

    candidate: float
    current: float
    low: float | None
    high: float | None

    @property
    def value(self) -> float:
        """Candidate minus current."""
        return self.candidate - self.current


@dataclass(frozen=True)
class Comparison:
    """Pooled F1 (at the IoU the counts were made with) and Dice of two models on `n` held-out patches."""

    n: int
    f1: Difference
    dice: Difference

    @property
    def not_lower(self) -> bool:
        """Is the candidate no lower on these patches, whatever may be by chance? Dice decides where F1 is equal."""
        return (round(self.f1.value, 6), self.dice.value) >= (0.0, 0.0)


def rule(found: Comparison, least: int) -> Ruling:
    """The ruling on a candidate, see above. least: held-out patches below which nothing is gated, at least 2."""
    f1, dice = found.f1, found.dice
    if found.n < least or f1.low is None or f1.high is None or dice.low is None or dice.high is None:
        return "ungated, not lower" if found.not_lower else "ungated, lower"
    if f1.low > 0 and dice.value >= 0:
        return "better"
    if dice.low > -MARGIN and f1.value >= 0:
        return "not worse"
    if f1.high < 0 or dice.high < -MARGIN:
        return "worse"
    return "undecided"


def promotes(ruling: Ruling) -> bool:
    """Does a candidate with this ruling take the place of the model in use?"""
    return ruling in ("better", "not worse", "ungated, not lower")


def patches_needed(found: Comparison) -> int | None:
    """About how many held-out patches would promote the candidate, if the differences stay what they are; None if none would."""
    needed = [
        found.n * ((d.value - d.low) / (d.value + margin)) ** 2
        for d, other, margin in ((found.f1, found.dice, 0.0), (found.dice, found.f1, MARGIN))
        if d.low is not None and d.value + margin > 0 and other.value >= 0
    ]
    return math.ceil(min(needed)) if needed else None


def compare(
    candidate: Sequence[Counts],
    current: Sequence[Counts],
    volumes: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two models by what they did on the same patches, in the same order; volumes: where each patch lies.

    Patches are drawn with replacement, one draw for both models, and their counts are summed before scores are taken, as
    the scores themselves are pooled. Within each volume of at least `LEAST_STRATUM` patches the draws are made apart
    (stratified). From n patches of a stratum n - 1 are drawn and weighted n / (n - 1), without which few patches promise
    too much (Rao and Wu 1988). The interval is the difference plus and minus the bootstrap's standard error times
    Student's t for patches minus strata degrees of freedom: percentiles of so few patches are too narrow, because they
    cannot lie beyond the worst patch (Hesterberg 2015, section 4). Raises ValueError for lists of different lengths.
    """
    if not len(candidate) == len(current) == len(volumes) > 0:
        raise ValueError(f"{len(candidate)} and {len(current)} patches of {len(volumes)} volumes cannot be compared")
    n = len(volumes)
    sums = [_sums(counts) for counts in (candidate, current)]
    weights, reach = _resampled(volumes, rng, resamples)
    drawn = [_scores(weights @ one) for one in sums]
    seen = [_scores(one.sum(axis=0)[None]) for one in sums]
    found = []
    for score in (0, 1):
        mine, theirs = float(seen[0][score][0]), float(seen[1][score][0])
        half = reach * float(np.std(drawn[0][score] - drawn[1][score]))
        low, high = (mine - theirs - half, mine - theirs + half) if n > 1 else (None, None)
        found.append(Difference(mine, theirs, low, high))
    return Comparison(n, found[0], found[1])


def intervals(
    counts: Sequence[Counts], volumes: Sequence[str], rng: np.random.Generator, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """90 % intervals of a model's pooled "f1" and "dice", within 0..1, made like those of `compare`; empty for one patch."""
    if len(volumes) < 2:
        return {}
    weights, reach = _resampled(volumes, rng, resamples)
    sums = _sums(counts)
    found = {}
    for name, seen, drawn in zip(("f1", "dice"), _scores(sums.sum(axis=0)[None]), _scores(weights @ sums), strict=True):
        half = reach * float(np.std(drawn))
        found[name] = (max(0.0, float(seen[0]) - half), min(1.0, float(seen[0]) + half))
    return found


FIELDS = ("n_true", "n_predicted", "n_matched", "true_voxels", "predicted_voxels", "common_voxels")
"""Of `Counts`: what F1 and Dice are made of."""


def _sums(counts: Sequence[Counts]) -> Floats:
    return np.array([[getattr(c, name) for name in FIELDS] for c in counts], np.float64)


def _resampled(volumes: Sequence[str], rng: np.random.Generator, resamples: int) -> tuple[Floats, float]:
    """How often each patch is drawn (resamples, n), and how many standard errors an interval reaches either way."""
    n = len(volumes)
    if n < 2:
        return np.ones((1, n)), 0.0
    strata = _strata(volumes)
    weights = np.zeros((resamples, n))
    for members in strata:
        m = len(members)
        draws = rng.integers(m, size=(resamples, m - 1)) + m * np.arange(resamples)[:, None]
        times = np.bincount(draws.ravel(), minlength=resamples * m).reshape(resamples, m)
        weights[:, members] = times * (m / (m - 1))
    return weights, _student(n - len(strata))


def _strata(volumes: Sequence[str]) -> list[list[int]]:
    """Positions by volume; those of small volumes together, or with the largest where they are a single one."""
    often = Counter(volumes)
    large = [v for v, n in often.most_common() if n >= LEAST_STRATUM]
    strata = [[i for i, v in enumerate(volumes) if v == name] for name in large]
    rest = [i for i, v in enumerate(volumes) if v not in large]
    if len(rest) == 1 and strata:
        strata[0] += rest
    elif rest:
        strata.append(rest)
    return strata


def _scores(sums: Floats) -> tuple[Floats, Floats]:
    """F1 and Dice of summed counts (..., FIELDS). Nothing there and nothing predicted is perfect, as in `Counts`."""
    true, predicted, matched, true_voxels, predicted_voxels, common = np.moveaxis(sums, -1, 0)
    return _ratio(2 * matched, true + predicted), _ratio(2 * common, true_voxels + predicted_voxels)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.ones_like(numerator), where=denominator > 0)


def _student(degrees: int) -> float:
    """The t that Student's distribution stays within, either way, with probability `CONFIDENCE`.

    By bisection on the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4: the daemon judges in its own process,
    where scipy would take as much memory as the rest of it.
    """
    odd = degrees % 2

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(degrees))
        term = math.cos(angle) if odd else 1.0
        series = term if degrees > 1 else 0.0
        for k in range(2 + odd, degrees - 1, 2):
            term *= math.cos(angle) ** 2 * (k - 1) / k
            series += term
        series *= math.sin(angle)
        return 2 / math.pi * (angle + series) if odd else series

    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < CONFIDENCE else (low, middle)
    return high
