"""Matching against a brute force over all assignments and against elf; pooled scores are those of one big patch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.matching import Counts, count, pool, score


def random_map(rng: np.random.Generator, shape: tuple[int, int, int], n: int) -> np.ndarray:
    """Random boxes painted over each other with arbitrary ids."""
    out = np.zeros(shape, np.int64)
    for i in rng.permutation(n):
        low = [int(rng.integers(0, s)) for s in shape]
        high = [a + int(rng.integers(1, s - a + 1)) for a, s in zip(low, shape, strict=True)]
        out[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = 3 + 7 * i
    return out


def disturbed(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """The same instances after erasing and swapping some voxels: produces many IoUs around 0.5."""
    out = labels.copy()
    out[rng.random(labels.shape) < rng.choice([0.0, 0.2, 0.5])] = 0
    if rng.random() < 0.5:
        out = np.roll(out, int(rng.integers(1, 3)), axis=2)
    return out


@st.composite
def pairs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 7)), draw(st.integers(2, 7)))
    truth = random_map(rng, shape, draw(st.integers(0, 5)))
    predicted = disturbed(rng, truth) if draw(st.booleans()) else random_map(rng, shape, draw(st.integers(0, 5)))
    return predicted, truth


def brute_force(predicted: np.ndarray, truth: np.ndarray, iou: float) -> tuple[int, float]:
    """Oracle: (matches, sum of IoU) of the best of all one-to-one assignments."""
    p_ids, t_ids = [i for i in np.unique(predicted) if i], [i for i in np.unique(truth) if i]
    if len(p_ids) < len(t_ids):
        predicted, truth, p_ids, t_ids = truth, predicted, t_ids, p_ids
    best = (0, 0.0)
    for perm in itertools.permutations(p_ids, len(t_ids)):
        n, total = 0, 0.0
        for t, p in zip(t_ids, perm, strict=True):
            value = np.sum((truth == t) & (predicted == p)) / np.sum((truth == t) | (predicted == p))
            if value > iou:
                n, total = n + 1, total + value
        best = max(best, (n, total))
    return best


@settings(max_examples=150, deadline=None)
@given(pairs(), st.sampled_from([0.0, 0.1, 0.25, 0.49, 0.5, 0.75, 0.9]))
def test_matches_equal_the_best_of_all_assignments(pair, iou):
    predicted, truth = pair
    got = count(predicted, truth, iou)
    n, total = brute_force(predicted, truth, iou)
    assert got.n_matched == n
    assert got.sum_iou == pytest.approx(total)
    s = got.scores()
    if got.n_true + got.n_predicted:
        fp, fn = got.n_predicted - n, got.n_true - n
        assert s.f1 == pytest.approx(n / (n + fp / 2 + fn / 2))
        assert s.accuracy == pytest.approx(n / (n + fp + fn))
        assert s.panoptic == pytest.approx(total / (n + fp / 2 + fn / 2))
        assert s.dice == pytest.approx(
            2 * np.sum((predicted > 0) & (truth > 0)) / (np.sum(predicted > 0) + np.sum(truth > 0))
        )
    else:
        assert (s.f1, s.accuracy, s.precision, s.recall, s.panoptic, s.dice) == (1,) * 6


@settings(max_examples=60, deadline=None)
@given(pairs(), st.sampled_from([0.501, 0.613, 0.777]))
def test_scores_equal_elf(pair, iou):
    from elf.evaluation import matching as elf_matching

    predicted, truth = pair
    if not predicted.any() or not truth.any():
        return  # elf has no convention of its own for empty masks
    ours, theirs = score(predicted, truth, iou), elf_matching(predicted, truth, threshold=iou)
    assert ours.f1 == pytest.approx(theirs["f1"])
    assert ours.precision == pytest.approx(theirs["precision"])
    assert ours.recall == pytest.approx(theirs["recall"])
    assert ours.accuracy == pytest.approx(theirs["segmentation_accuracy"])


@settings(max_examples=40, deadline=None)
@given(st.lists(pairs(), max_size=4))
def test_pooling_equals_scoring_one_big_patch(patches):
    width, offset, predicted, truth = 8, 0, [], []
    for p, t in patches:
        pad = [(0, 3 - p.shape[0]), (0, width - p.shape[1]), (0, width - p.shape[2])]
        predicted.append(np.pad(np.where(p > 0, p + offset, 0), pad))
        truth.append(np.pad(np.where(t > 0, t + offset, 0), pad))
        offset += 1000
    pooled = pool(count(p, t) for p, t in patches)
    if not patches:
        assert pooled.f1 == 1.0
        return
    whole = score(np.concatenate(predicted, axis=1), np.concatenate(truth, axis=1))
    for name, value in whole.to_json().items():
        assert getattr(pooled, name) == pytest.approx(value), name


def test_one_side_empty_scores_zero():
    something = np.ones((1, 3, 3), np.uint8)
    nothing = np.zeros_like(something)
    for predicted, truth in ((something, nothing), (nothing, something)):
        s = score(predicted, truth)
        assert (s.f1, s.accuracy, s.precision, s.recall, s.panoptic, s.dice) == (0,) * 6
    assert pool([count(nothing, nothing), count(something, something)]).f1 == 1.0


def test_exactly_half_is_no_match():
    truth = np.array([[[1, 1, 0, 0]]])
    assert count(np.array([[[1, 0, 0, 0]]]), truth).n_matched == 0
    assert count(np.array([[[1, 0, 0, 0]]]), truth, iou=0.49).n_matched == 1


def test_ignored_voxels_count_for_neither_side():
    truth, predicted = np.array([[[1, 1, 0, 2]]]), np.array([[[1, 0, 5, 5]]])
    ignore = np.array([[[False, True, True, True]]])
    assert count(predicted, truth, ignore=ignore) == Counts(1, 1, 1, 1.0, 1, 1, 1)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int))
    with pytest.raises(ValueError, match="threshold"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), iou=1.0)
