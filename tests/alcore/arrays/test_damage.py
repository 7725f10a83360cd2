"""Faults of stand-in models do what they say, so that the benchmark of the court knows what it judges."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.arrays.matching import score
from benchmarks.damage import Faults, Truth


@pytest.fixture(scope="module")
def truth() -> Truth:
    labels = np.zeros((6, 120, 120), np.uint32)
    for n in range(64):
        y, x = 15 * (n // 8) + 2, 15 * (n % 8) + 2
        labels[1:5, y : y + 9, x : x + 9] = n + 1
    return Truth(labels, np.random.default_rng(0))


def seen(truth: Truth, seed: int = 1, **faults: float):
    return score(truth.segment(Faults(**faults), np.random.default_rng(seed)), truth.labels)


def test_no_faults_are_the_truth(truth):
    assert (truth.segment(Faults(), np.random.default_rng(0)) == truth.labels).all()


def test_missed_and_invented_objects(truth):
    lost = seen(truth, missed=0.25)
    assert lost.n_predicted == pytest.approx(48, abs=14)
    assert lost.n_matched == lost.n_predicted
    assert seen(truth, missed=1).n_predicted == 0
    more = seen(truth, invented=0.5)
    assert more.n_matched == 64 < more.n_predicted


def test_merged_objects_cost_f1_and_no_dice(truth):
    merged = seen(truth, merged=0.4)
    assert merged.dice == 1
    assert merged.f1 < 0.9
    assert merged.n_predicted < 64


def test_outlines_move_by_so_many_pixels(truth):
    for px, edge in ((1, 7), (2, 5), (-1, 11), (-2, 13)):
        found = truth.segment(Faults(shrunk=px), np.random.default_rng(0))
        if px > 0:
            assert np.count_nonzero(found) == 64 * 4 * edge**2
        else:
            assert 64 * 4 * 81 < np.count_nonzero(found) <= 64 * 4 * edge**2  # corners are round
    assert seen(truth, shift_px=2).dice < seen(truth, shift_px=1).dice < 1


def test_models_alike_err_alike_but_not_the_same(truth):
    first, second = (truth.segment(Faults(missed=0.5), np.random.default_rng(s)) > 0 for s in (1, 2))
    apart = (first != second).mean() / (2 * first.mean() * (1 - first.mean()))
    assert 0 < apart < 0.7
