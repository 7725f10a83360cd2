"""The simulated expert errs as often as told, in the way told, and not at all where nothing was told."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.arrays import matching
from alcore.simulation import expert
from alcore.simulation.settings import ExpertSettings


def grid_of_objects(n: int = 10, edge: int = 12, size: int = 6) -> np.ndarray:
    """n x n square objects in 4 slices."""
    truth = np.zeros((4, n * edge, n * edge), np.uint32)
    for i in range(n * n):
        y, x = divmod(i, n)
        truth[:, y * edge + 3 : y * edge + 3 + size, x * edge + 3 : x * edge + 3 + size] = i + 1
    return truth


def test_without_errors_the_truth_comes_back() -> None:
    truth = grid_of_objects()
    np.testing.assert_array_equal(expert.draw(truth, ExpertSettings(), np.random.default_rng(0)), truth)
    assert not ExpertSettings().errs and ExpertSettings(missed=0.1).errs


def test_so_many_objects_are_missed_and_the_others_are_whole() -> None:
    truth = grid_of_objects()
    drawn = expert.draw(truth, ExpertSettings(missed=0.3), np.random.default_rng(0))
    found = matching.count(drawn, truth)
    assert 15 <= found.n_true - found.n_matched <= 45
    assert found.n_predicted == found.n_matched and found.sum_iou == pytest.approx(found.n_matched)


def test_false_objects_lie_where_nothing_is_and_are_as_large_as_true_ones() -> None:
    truth = np.zeros((4, 240, 240), np.uint32)
    truth[:, :120, :120] = grid_of_objects()
    drawn = expert.draw(truth, ExpertSettings(label_noise=0.4), np.random.default_rng(1))
    np.testing.assert_array_equal(drawn[truth > 0], truth[truth > 0])
    false = np.unique(drawn[(truth == 0) & (drawn > 0)])
    assert 20 <= len(false) <= 60
    assert all((drawn == i).sum() == 4 * 36 for i in false)


def test_boundaries_are_off_by_about_so_many_voxels_and_no_more() -> None:
    truth = np.zeros((3, 200, 200), np.uint32)
    truth[:, 40:160, 40:160] = 7
    drawn = expert.draw(truth, ExpertSettings(boundary_jitter_px=2.0), np.random.default_rng(2))
    assert set(np.unique(drawn)) == {0, 7}
    off = [np.flatnonzero(drawn[z, y] == 7).min() - 40 for z in range(3) for y in range(60, 140)]
    assert 1.0 < np.std(off) < 3.5 and abs(np.mean(off)) < 1.5
    np.testing.assert_array_equal(drawn[:, 55:145, 55:145], 7)


def test_time_is_taken_by_patch_and_by_object() -> None:
    how = ExpertSettings(minutes_base=2.0, minutes_per_object=0.5)
    assert expert.minutes(grid_of_objects(3), how) == (6.5, 9)
    assert expert.minutes(np.zeros((2, 4, 4), np.uint32), how) == (2.0, 0)


def test_the_same_generator_draws_the_same() -> None:
    truth, how = grid_of_objects(), ExpertSettings(missed=0.2, label_noise=0.2, boundary_jitter_px=1.0)
    one, two = (expert.draw(truth, how, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
