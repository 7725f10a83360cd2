"""Guessing which centre is near a row changes the order of the work, and never a pick, a distance or a nearest row."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.arrays.coreset import LANES, Pick, fixed_order_dot
from alcore.coreset import Frontier, continue_from, dense, frontier
from alcore.coreset.guess import guess_nearest, signs_of
from alcore.coreset.kernels import GONE, TAKEN

ALWAYS, NEVER = -1e12, 1e12
"""What a guess may be said to cost, to have it made always or never."""


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def groups(n: int, dim: int, rng: np.random.Generator, wide: float = 1.0, n_groups: int = 30) -> np.ndarray:
    """(n, dim) rows around `n_groups` directions; with `wide` zero, as many rows copied again and again."""
    directions = rng.normal(size=(n_groups, dim))
    return unit(directions[rng.integers(0, n_groups, n)] + wide * rng.normal(size=(n, dim)))


def farthest(rows: np.ndarray, covered: list[int]) -> Pick:
    """By every product in float64; ties to the lowest position, and to the row that was covered first."""
    products = fixed_order_dot(rows, rows[covered])
    key, near = products.max(axis=1), products.argmax(axis=1)
    key[covered] = np.inf
    best = int(key.argmin())
    return Pick(best, 1 - key[best], covered[int(near[best])], random=False)


def check_state(tested: Frontier, rows: np.ndarray) -> None:
    """Every key is a lower bound that the named centre, not a withdrawn one, reaches; no centre up to `resolved` surpasses it."""
    state = tested.state
    log = state.centres
    products = fixed_order_dot(rows, log.rows[: len(log)])
    gone = sorted(set(range(len(log))) - set(log.number.values()))
    products[:, gone] = -10
    key, near, resolved = (a[: state.n] for a in (state.key, state.near, state.resolved))
    for i in np.flatnonzero((key != TAKEN) & np.isfinite(key)):
        assert products[i, near[i]] >= key[i]
        assert products[i, : resolved[i]].max(initial=-10) <= max(key[i], products[i, near[i]])


@pytest.mark.parametrize("cost", [ALWAYS, NEVER, dense.GUESS_COST])
@pytest.mark.parametrize(("dim", "wide"), [(24, 1.0), (70, 0.0), (300, 0.5)])
def test_picks_are_those_of_brute_force_with_guesses_and_without(cost, dim, wide, monkeypatch):
    """Coordinates that do and do not fill the words of signs, copies by the dozen, rows added, and holes among the centres."""
    for where, name, value in (
        (dense, "PILOT", 4),
        (dense, "GUESSED_FROM", 8),
        (dense, "GUESS_COST", cost),
        (frontier, "CALIBRATION", 64),
        (frontier, "POOL", 16),
    ):
        monkeypatch.setattr(where, name, value)
    rng = np.random.default_rng(dim)
    rows, covered = groups(240, dim, rng, wide), [7]
    tested = Frontier(rows, covered, threads=1)
    for step in range(30):
        if step in (8, 20):
            new = groups(80, dim, rng, wide)
            new[:30] = rows[:30]
            rows = np.concatenate([rows, new])
            tested.add_points(new)
        if step % 6 == 5:
            tested.withdraw(covered.pop(int(rng.integers(len(covered) - 1))))
        expected = farthest(rows, covered)
        assert tested.next() == expected
        if step % 15 == 14:
            check_state(tested, rows)
        covered.append(int(expected.position))
        tested.cover(covered[-1:])
    assert (tested.work.signs > 3_000) == (cost == ALWAYS) or cost == dense.GUESS_COST


@pytest.mark.parametrize("dim", [5, 64, 200, 384])
def test_a_guess_is_the_centre_whose_signs_differ_least_and_its_product_is_exact(dim):
    rng = np.random.default_rng(dim)
    rows = groups(200, dim, rng)
    centres, middle = rows[100:140], rows.mean(axis=0)
    bits = (rows > middle)[:, :256]
    signs = signs_of(centres, middle)
    np.testing.assert_array_equal(
        np.unpackbits(signs.view(np.uint8), axis=1, bitorder="little")[:, : min(dim, 256)], bits[100:140]
    )
    resolved, near = rng.integers(0, 41, 200).astype(np.int32), np.full(200, -1, np.int32)
    key, bias = np.full(200, -np.inf), np.zeros((1, 128), np.float32)
    bias[0, 3:40:5] = GONE
    ids, alive = np.arange(200), np.empty(200, np.int64)
    n, compared, exact = guess_nearest(
        ids, rows[:90], rows[90:], middle, centres, signs, bias, 40, 0.4, key, near, resolved, alive, np.empty(LANES)
    )
    differ = (bits[:, None] != bits[None, 100:140]).sum(axis=2).astype(float)
    differ[np.arange(40) < resolved[:, None]] = np.inf
    named = np.where((resolved == 40) | (bias[0, differ.argmin(axis=1)] < 0), -1, differ.argmin(axis=1))
    np.testing.assert_array_equal(near, named)
    products = fixed_order_dot(rows, centres)
    np.testing.assert_array_equal(key, np.where(named < 0, -np.inf, products[ids, named]))
    np.testing.assert_array_equal(alive[:n], np.flatnonzero(key <= 0.4))
    assert (compared, exact) == ((40 - resolved).sum(), (named >= 0).sum())


def test_guessing_is_used_where_it_saves_and_costs_little_where_it_does_not(monkeypatch):
    """By what was evaluated: never by a clock."""
    monkeypatch.setattr(dense, "PILOT", 128)

    def work(rows: np.ndarray, guessed_from: int) -> float:
        monkeypatch.setattr(dense, "GUESSED_FROM", guessed_from)
        grown = Frontier(rows, [0])
        continue_from(grown, 250, np.random.default_rng(0))
        return grown.work.distances(rows.shape[1])

    rng = np.random.default_rng(0)
    with_groups, without = groups(16_000, 256, rng, n_groups=200), unit(rng.normal(size=(16_000, 256)))
    assert work(with_groups, 1024) < 0.6 * work(with_groups, 10**9)
    assert work(without, 1024) < 1.03 * work(without, 10**9)


def test_thousands_of_duplicates_with_guesses(monkeypatch):
    monkeypatch.setattr(dense, "PILOT", 8)
    monkeypatch.setattr(dense, "GUESSED_FROM", 16)
    monkeypatch.setattr(dense, "GUESS_COST", ALWAYS)
    rows, covered = np.tile(groups(5, 24, np.random.default_rng(0), n_groups=3), (1200, 1)), [5]
    tested = Frontier(rows, covered)
    for _ in range(8):
        expected = farthest(rows, covered)
        assert tested.next() == expected
        covered.append(int(expected.position))
        tested.cover(covered[-1:])
    assert tested.work.signs > 1000
