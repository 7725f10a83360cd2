"""The court: its interval against exact arithmetic, its rule against simulated models whose true scores are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from alcore.arrays.court import (
    CONFIDENCE,
    Comparison,
    Difference,
    _strata,
    _student,
    compare,
    patches_needed,
    promotes,
    rule,
)
from alcore.arrays.matching import Counts, pool


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def patch(dice: float, matched: int = 10, n: int = 20) -> Counts:
    """Twenty true and predicted objects and 1000 voxels on either side."""
    return Counts(n, n, matched, 0.7 * matched, 1000, 1000, round(1000 * dice))


def test_the_quantile_is_students():
    for degrees in range(1, 120):
        assert _student(degrees) == pytest.approx(stats.t.ppf((1 + CONFIDENCE) / 2, degrees), rel=1e-9)


def test_scores_are_the_pooled_ones():
    mine, theirs = [patch(0.5, 3), patch(0.7, 15), Counts()], [patch(0.6, 9), patch(0.6, 9), Counts()]
    found = compare(mine, theirs, "aab", rng())
    for got, counts in (("candidate", mine), ("current", theirs)):
        assert getattr(found.f1, got) == pytest.approx(pool(counts).f1)
        assert getattr(found.dice, got) == pytest.approx(pool(counts).dice)
    nothing = compare([Counts()] * 3, [Counts()] * 3, "aaa", rng())
    assert (nothing.f1.candidate, nothing.f1.low, nothing.f1.high) == (1, 0, 0)


def test_equal_patches_get_the_t_interval_of_their_mean():
    """With equal denominators the pooled difference is a mean of differences, whose interval is in every textbook."""
    d = rng(1).normal(0.02, 0.05, 12).round(3)
    found = compare([patch(0.5 + v) for v in d], [patch(0.5)] * 12, ["a"] * 12, rng(), resamples=40_000)
    low, high = stats.t.interval(CONFIDENCE, 11, d.mean(), stats.sem(d))
    assert found.dice.low == pytest.approx(low, abs=3e-4)
    assert found.dice.high == pytest.approx(high, abs=3e-4)
    assert found.f1.low == found.f1.high == 0


def test_what_differs_between_volumes_alone_is_no_doubt_within_them():
    d = [0.1] * 6 + [-0.05] * 6
    mine, theirs = [patch(0.5 + v) for v in d], [patch(0.5)] * 12
    apart = compare(mine, theirs, "a" * 6 + "b" * 6, rng())
    assert apart.dice.low == pytest.approx(apart.dice.high)
    together = compare(mine, theirs, "a" * 12, rng())
    assert together.dice.high - together.dice.low > 0.05


def test_small_volumes_make_one_stratum():
    assert _strata("aaaabbbb") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert _strata("aaaabc") == [[0, 1, 2, 3], [4, 5]]
    assert _strata("aaaab") == [[0, 1, 2, 3, 4]]
    assert _strata("abc") == [[0, 1, 2]]


def test_the_same_generator_gives_the_same_interval_and_swapping_turns_it_round():
    mine, theirs = [patch(v) for v in (0.5, 0.7, 0.4, 0.6)], [patch(v) for v in (0.5, 0.6, 0.5, 0.5)]
    assert compare(mine, theirs, "aaaa", rng()) == compare(mine, theirs, "aaaa", rng())
    back = compare(theirs, mine, "aaaa", rng())
    assert back.dice.high == pytest.approx(-(compare(mine, theirs, "aaaa", rng()).dice.low or 0))


def test_what_cannot_be_compared():
    one = compare([patch(0.5)], [patch(0.6)], "a", rng())
    assert one.dice.low is None
    assert rule(one, 1) == "ungated, lower"
    for mine, volumes in (([], ""), ([patch(0.5)], "ab"), ([patch(0.5)] * 2, "ab")):
        with pytest.raises(ValueError, match="cannot be compared"):
            compare(mine, [patch(0.5)], volumes, rng())


@pytest.mark.parametrize(
    ("f1", "dice", "n", "ruling"),
    [
        ((0.05, 0.01, 0.09), (0.0, -0.05, 0.05), 8, "better"),
        ((0.05, 0.01, 0.09), (-0.001, -0.05, 0.05), 8, "undecided"),
        ((0.0, -0.05, 0.05), (0.0, -0.009, 0.009), 8, "not worse"),
        ((-0.001, -0.05, 0.05), (0.02, 0.01, 0.03), 8, "undecided"),
        ((-0.05, -0.09, -0.01), (0.02, 0.01, 0.03), 8, "worse"),
        ((0.0, -0.05, 0.05), (-0.03, -0.05, -0.011), 8, "worse"),
        ((0.05, -0.01, 0.11), (0.02, -0.02, 0.06), 8, "undecided"),
        ((0.05, 0.01, 0.09), (0.02, 0.01, 0.03), 4, "ungated, not lower"),
        ((0.0, -0.05, 0.05), (-0.001, -0.05, 0.05), 4, "ungated, lower"),
        ((0.01, -0.05, 0.05), (-0.2, -0.3, -0.1), 4, "ungated, not lower"),
    ],
)
def test_the_rule(f1, dice, n, ruling):
    found = Comparison(n, *(Difference(0.5 + d, 0.5, low, high) for d, low, high in (f1, dice)))
    assert rule(found, 5) == ruling
    assert promotes(rule(found, 5)) is (ruling in ("better", "not worse", "ungated, not lower"))


def test_the_patches_that_would_tell():
    found = Comparison(8, Difference(0.55, 0.5, -0.05, 0.15), Difference(0.52, 0.5, -0.07, 0.11))
    assert patches_needed(found) == 32  # twice the precision for F1; Dice would take three times that
    assert patches_needed(Comparison(8, Difference(0.4, 0.5, -0.3, 0.1), Difference(0.4, 0.5, -0.3, 0.1))) is None


class Models:
    """Pairs of simulated models: hard patches are hard for both, and the candidate is better or worse by `dice` and `f1`."""

    def __init__(self, seed: int) -> None:
        self.rng = rng(seed)

    def gate(self, n: int, dice: float, f1: float) -> tuple[list[Counts], list[Counts]]:
        mine, theirs = [], []
        for _ in range(n):
            objects = int(self.rng.integers(3, 15))
            voxels = int(self.rng.lognormal(7, 0.6))
            hard = self.rng.normal(0, 0.12)
            luck = self.rng.random(objects)
            for side, d, f in ((mine, dice, f1), (theirs, 0.0, 0.0)):
                overlap = np.clip(0.7 + d + hard + self.rng.normal(0, 0.03), 0, 1)
                own = np.where(self.rng.random(objects) < 0.3, self.rng.random(objects), luck)  # most objects are
                found = int((own < 0.6 + f + hard).sum())  # as hard for one model as for the other
                side.append(Counts(objects, objects, found, 0.7 * found, voxels, voxels, round(overlap * voxels)))
        return mine, theirs

    def promoted(self, n: int, dice: float, f1: float, runs: int = 300) -> float:
        """Share of candidates that are promoted."""
        rulings = [rule(compare(*self.gate(n, dice, f1), ["v"] * n, self.rng, resamples=400), 3) for _ in range(runs)]
        return float(np.mean([promotes(r) for r in rulings]))


@pytest.mark.parametrize("n", [3, 6, 12, 24])
def test_harm_is_rarely_promoted(n: int) -> None:
    models = Models(n)
    assert models.promoted(n, -0.011, 0.0) <= 0.08  # one in twenty at the margin itself, give or take the luck of 300
    assert models.promoted(n, -0.02, -0.02) <= 0.03
    assert models.promoted(n, -0.05, -0.05) <= 0.01


@pytest.mark.parametrize(("n", "gain", "least"), [(6, 0.1, 0.85), (8, 0.06, 0.8), (12, 0.05, 0.8), (24, 0.04, 0.85)])
def test_gains_are_mostly_promoted(n: int, gain: float, least: float) -> None:
    assert Models(n).promoted(n, gain, gain) >= least
