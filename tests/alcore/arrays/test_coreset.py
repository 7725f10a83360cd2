"""Picks equal a brute force in exact arithmetic, duplicates and exact ties included, whichever filter is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays import coreset
from alcore.arrays.coreset import farthest_first, fixed_order_dot


def brute_force(rows: np.ndarray, k: int, chosen: list[int]) -> list[tuple[int, float]]:
    """Oracle: (position, similarity to the nearest) by correctly rounded sums, no linear algebra at all."""
    wide = rows.astype(np.float64).tolist()

    def similarity(i: int, j: int) -> float:
        return math.fsum(a * b for a, b in zip(wide[i], wide[j], strict=True))

    key = [max((similarity(i, c) for c in chosen), default=-2.0) for i in range(len(rows))]
    done, picks = set(chosen), []
    while len(picks) < k and len(done) < len(rows):
        best = min((i for i in range(len(rows)) if i not in done), key=lambda i: (key[i], i))
        picks.append((best, key[best]))
        done.add(best)
        key = [max(value, similarity(i, best)) for i, value in enumerate(key)]
    return picks


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def pools(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, dim = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 8, 33]))
    kind = draw(st.sampled_from(["random", "clustered", "duplicates", "exact ties"]))
    if kind == "random":
        return unit(rng.normal(size=(n, dim)))
    if kind == "clustered":
        centres = rng.normal(size=(4, dim))
        return unit(centres[rng.integers(0, 4, n)] + 1e-6 * rng.normal(size=(n, dim)))
    if kind == "duplicates":
        rows = unit(rng.normal(size=(n, dim)))
        return rows[rng.integers(0, max(1, n // 3), n)]
    rows = np.zeros((n, max(dim, 4)), np.float32)  # signs of 1/2 in four places: every product and sum is exact
    rows[:, :4] = rng.choice([-0.5, 0.5], (n, 4))
    return rows


@pytest.mark.parametrize("float64_pool", [5000, 0])
@settings(max_examples=120, deadline=None)
@given(rows=pools(), k=st.integers(0, 45), n_covered=st.integers(0, 6), seed=st.integers(0, 2**32 - 1))
def test_picks_equal_brute_force(float64_pool, rows, k, n_covered, seed):
    rng = np.random.default_rng(seed)
    covered = rng.permutation(len(rows))[:n_covered].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "FLOAT64_POOL", float64_pool)
        patch.setattr(coreset, "BLOCK_VALUES", 64)
        picks = farthest_first(rows, k, covered, np.random.default_rng(seed))
    seeds = [p.position for p in picks if p.random]
    assert len(seeds) == (0 if covered else min(3, k, len(rows)))
    expected = brute_force(rows, k - len(seeds), covered + seeds)
    rest = picks[len(seeds) :]
    assert [p.position for p in rest] == [position for position, _ in expected]
    wide, before = rows.astype(np.float64), covered + seeds
    for pick, (_, similarity) in zip(rest, expected, strict=True):
        assert pick.distance == pytest.approx(1 - similarity, abs=1e-12)
        assert pick.nearest in before
        assert wide[pick.nearest] @ wide[pick.position] == pytest.approx(similarity, abs=1e-12)
        before.append(pick.position)


def test_a_large_pool_in_float32_equals_float64():
    rng = np.random.default_rng(5)
    rows = unit(rng.normal(size=(7000, 16)) + 4 * rng.normal(size=(12, 16))[rng.integers(0, 12, 7000)])
    rows[rng.integers(0, 7000, 700)] = rows[rng.integers(0, 7000, 700)]
    picks = farthest_first(rows, 300, [17, 4000], np.random.default_rng(0))
    wide = rows.astype(np.float64)
    key = np.maximum(*(fixed_order_dot(rows, rows[[c]])[:, 0] for c in (17, 4000)))
    key[[17, 4000]] = np.inf
    for pick in picks:
        best = int(np.argmin(key))
        assert pick.position == best
        assert pick.distance == pytest.approx(1 - key[best], abs=1e-12)
        key = np.maximum(key, (wide * wide[best]).sum(axis=1))
        key[best] = np.inf


@settings(max_examples=40, deadline=None)
@given(pools(), st.integers(1, 20), st.integers(1, 20))
def test_continuing_equals_one_run(rows, first, second):
    covered = [0]
    whole = farthest_first(rows, first + second, covered, np.random.default_rng(0))
    head = farthest_first(rows, first, covered, np.random.default_rng(0))
    tail = farthest_first(rows, second, covered + [p.position for p in head], np.random.default_rng(0))
    assert [p.position for p in head + tail] == [p.position for p in whole]


def test_seeds_come_from_the_generator_and_are_distinct():
    rows = unit(np.random.default_rng(1).normal(size=(50, 4)))
    runs = [[p.position for p in farthest_first(rows, 5, [], np.random.default_rng(s))] for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    picks = farthest_first(rows, 5, [], np.random.default_rng(1), initial=2)
    assert [p.random for p in picks] == [True, True, False, False, False]
    assert picks[0].distance is None
    assert picks[0].nearest is None
    assert picks[1].nearest == picks[0].position


def test_rows_that_are_equal_have_equal_products_wherever_they_stand():
    rng = np.random.default_rng(0)
    one, other = unit(rng.normal(size=(2, 385)))
    rows = np.tile(one, (37, 1))
    assert len(np.unique(fixed_order_dot(rows, other[None]))) == 1
    assert fixed_order_dot(other[None], one[None])[0, 0] == fixed_order_dot(rows, other[None])[5, 0]


def test_small_and_wrong_pools():
    rng = np.random.default_rng(0)
    assert farthest_first(np.empty((0, 4), np.float32), 3, [], rng) == []
    only = farthest_first(np.ones((1, 1), np.float32), 3, [], rng)
    assert [(p.position, p.distance) for p in only] == [(0, None)]
    assert farthest_first(np.ones((1, 1), np.float32), 3, [0], rng) == []
    bad = np.ones((3, 2), np.float32)
    bad[1, 0] = np.nan
    with pytest.raises(ValueError, match="position 1 is not finite"):
        farthest_first(bad, 1, [], rng)
    with pytest.raises(ValueError, match="covered positions"):
        farthest_first(np.ones((3, 2), np.float32), 1, [3], rng)
    with pytest.raises(ValueError, match="float32"):
        farthest_first(np.ones((3, 2)), 1, [], rng)
