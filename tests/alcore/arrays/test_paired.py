"""Means and intervals over regions and seeds: what they say, how often they hold the truth, and when they say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alcore.arrays.paired import area, difference, estimate, ratio


def test_the_area_is_a_mean_score_over_doublings() -> None:
    assert area((2, 4, 8), np.array([0.5, 0.5, 0.5])) == pytest.approx(0.5)
    assert area((2, 4, 16), np.array([0.0, 0.6, 0.6])) == pytest.approx((0.3 * 1 + 0.6 * 2) / 3)
    assert area((1, 2), np.zeros((4, 3, 2))).shape == (4, 3)
    of_counts, of_shares = (area(b, np.array([0.1, 0.4, 0.5])) for b in ((2, 4, 16), (1 / 8, 1 / 4, 1.0)))
    assert of_counts == pytest.approx(float(of_shares))


@pytest.mark.parametrize("shares", [(4,), (0, 2), (4, 2), (2, 2)])
def test_an_area_needs_two_ascending_numbers_of_labels(shares: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        area(shares, np.zeros(len(shares)))


def test_the_mean_is_over_regions_of_means_over_seeds() -> None:
    found = estimate({0: [0.1, 0.3, 0.2], 1: [0.8]})
    assert found is not None and found.mean == pytest.approx(0.5) and (found.n_runs, found.n_regions) == (4, 2)


@pytest.mark.parametrize(("regions", "seeds", "between"), [(1, 3, 0.0), (2, 3, 0.0), (4, 3, 0.05), (4, 10, 0.05)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(regions: int, seeds: int, between: float) -> None:
    hit, n = 0, 400
    for trial in range(n):
        rng = np.random.default_rng([regions, seeds, trial])
        values = {r: rng.normal(0.3 + rng.normal(0, between), 0.1, seeds) for r in range(regions)}
        found = estimate(values)
        assert found is not None and found.low is not None and found.high is not None
        hit += found.low <= 0.3 <= found.high
    assert 0.92 <= hit / n <= 0.99


def test_an_interval_speaks_of_other_regions_only_from_three_on() -> None:
    rng = np.random.default_rng(0)
    values = {r: rng.normal(r, 0.01, 5) for r in range(4)}
    three, two = estimate(values), estimate({r: values[r] for r in (0, 1)})
    assert three is not None and three.scope == "regions" and three.half is not None and three.half > 1
    assert two is not None and two.scope == "seeds" and two.half is not None and two.half < 0.05
    seeds_only = estimate(values, math.inf)
    assert seeds_only is not None and seeds_only.scope == "seeds" and seeds_only.mean == three.mean


def test_regions_that_agree_by_luck_do_not_make_an_interval_narrower_than_seeds_do() -> None:
    seeds = np.array([-0.3, 0.0, 0.3])
    found = estimate(dict.fromkeys(range(4), 0.5 + seeds))
    alone = estimate(dict.fromkeys(range(4), 0.5 + seeds), math.inf)
    assert found is not None and alone is not None and found.half == alone.half
    assert found.half == pytest.approx(2.306 * 0.3 / math.sqrt(12), rel=1e-3)  # t of 8 degrees of freedom


def test_one_seed_has_no_interval_and_no_sign() -> None:
    found = estimate({0: [0.4], 1: [0.6], 2: [0.5]})
    assert found is not None and found.mean == pytest.approx(0.5)
    assert (found.low, found.high, found.half, found.scope, found.sign) == (None, None, None, "none", 0)


def test_what_is_missing_is_left_out_of_pairs() -> None:
    one = {0: np.array([0.5, np.nan, 0.7]), 1: np.array([np.nan, np.nan, np.nan])}
    other = {0: np.array([0.4, 0.1, np.nan]), 1: np.array([0.1, 0.2, 0.3])}
    found = estimate(difference(one, other))
    assert found is not None and found.mean == pytest.approx(0.1) and found.n_runs == 1
    assert estimate({0: [math.nan]}) is None and estimate({}) is None


def test_a_share_is_of_means_and_its_interval_is_paired() -> None:
    reference = {r: np.array([0.2, 0.4, 0.6]) * (r + 1) for r in range(4)}
    exactly = ratio({r: 0.9 * v for r, v in reference.items()}, reference)
    assert exactly is not None and exactly.mean == pytest.approx(0.9) and exactly.half == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(1)
    values = {r: 0.8 * v + rng.normal(0, 0.02, 3) for r, v in reference.items()}
    found = ratio(values, reference)
    assert found is not None
    assert found.mean == pytest.approx(np.mean([*values.values()]) / np.mean([*reference.values()]))
    assert found.low is not None and found.high is not None and found.low < 0.8 < found.high
    assert ratio(values, {r: np.zeros(3) for r in values}) is None
    assert ratio({0: [0.5]}, {}) is None


def test_a_sign_is_given_only_where_the_interval_leaves_zero_out() -> None:
    for mean, sign in ((0.1, 1), (-0.1, -1), (0.001, 0)):
        found = estimate({r: [mean - 0.01, mean + 0.01] for r in range(2)})
        assert found is not None and found.sign == sign
