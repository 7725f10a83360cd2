"""The interval between two arms: right for a planted difference, and silent where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.fastlearner.comparison import compare, draws, overlaps
from alcore.fastlearner.learner import Model


def _counts(dice: np.ndarray, size: int = 1000) -> np.ndarray:
    """(repeats, arms, 3) of one gate label with these Dice (repeats, arms): true and predicted of equal size."""
    both = np.rint(np.clip(dice, 0, 1) * size)
    return np.stack([np.full_like(both, size), np.full_like(both, size), both], -1).astype(np.int64)


def _experiment(seed: int, better: float, repeats: int = 24, gate: int = 6) -> list[np.ndarray]:
    """Repeats scatter around what the arm's labels happen to be worth, as a bootstrap of them does."""
    rng = np.random.default_rng(seed)
    luck = rng.normal(0, 0.05, (1, 2))  # of the labels that each arm happens to have
    scatter = rng.normal(0, 0.05, (repeats, 2))
    hard = rng.normal(0, 0.1, gate)
    return [_counts(0.6 + h + luck + scatter + np.array([better, 0.0])) for h in hard]


def test_dice_pools_over_gate_labels() -> None:
    one = np.array([[[10, 10, 5], [10, 10, 10]]])  # Dice 0.5 and 1
    two = np.array([[[0, 30, 0], [30, 30, 30]]])  # Dice 0 and 1
    found = compare([one, two], 0)
    assert found.selected == pytest.approx(2 * 5 / 50) and found.control == 1
    assert found.difference == pytest.approx(found.selected - 1)


def test_a_better_arm_is_seen() -> None:
    found = [compare(_experiment(seed, 0.3), seed) for seed in range(10)]
    assert all(f.low > 0 for f in found)
    assert all(f.low <= f.difference <= f.high for f in found)


def test_equal_arms_are_called_different_about_as_rarely_as_promised() -> None:
    found = [compare(_experiment(seed, 0.0), seed) for seed in range(100)]
    wrong = sum(f.low > 0 or f.high < 0 for f in found)
    assert wrong <= 12
    assert np.mean([f.high - f.low for f in found]) < 0.5  # not bought with an interval that says nothing


def test_gate_patches_that_are_hard_for_both_do_not_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    scatter = rng.normal(0, 0.001, (24, 2)) + np.array([0.1, 0.0])
    hard = [_counts(0.5 + h + scatter) for h in (-0.4, -0.2, 0.0, 0.2, 0.3)]
    found = compare(hard, 0)
    assert 0.09 < found.low < found.high < 0.11


def test_nothing_there_and_nothing_predicted_is_perfect() -> None:
    found = compare([np.zeros((3, 2, 3), np.int64)] * 4, 0)
    assert (found.selected, found.control, found.difference, found.low, found.high) == (1, 1, 0, 0, 0)


def test_draws_are_of_one_size_within_each_arm() -> None:
    drawn = list(draws(9, 5, 5, 50, 0))
    assert all(len(a) == len(b) == 5 for a, b in drawn)
    assert {int(i) for a, _ in drawn for i in a} == set(range(9))
    assert {int(i) for _, b in drawn for i in b} == set(range(5))
    again = list(draws(9, 5, 5, 50, 0))
    assert all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(drawn, again, strict=True))


def test_overlaps_are_counted_where_the_expert_looked() -> None:
    image = np.zeros((1, 2, 4, 4), np.float32)
    everything = Model(None, 1.0, 0.5, 0)
    truth = np.ones((2, 4, 4), np.uint8)
    seen = np.zeros(truth.shape, bool)
    seen[0, :2] = True
    assert overlaps([(everything, everything)], image, truth, seen).tolist() == [[[8, 8, 8], [8, 8, 8]]]
    assert overlaps([(everything, everything)], image, truth).tolist() == [[[32, 32, 32], [32, 32, 32]]]
