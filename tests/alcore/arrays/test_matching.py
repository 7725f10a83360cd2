"""Matching against a brute force over all assignments and against elf; pooled scores are those of one big patch."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.matching import STRICT, Counts, count, pool, score


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
        assert (s.f1, s.accuracy, s.precision, s.recall, s.panoptic, s.dice, s.ap75) == (1,) * 7


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_average_precision_at_075_is_the_accuracy_there(pair):
    predicted, truth = pair
    n, _ = brute_force(predicted, truth, STRICT)
    total = len(np.unique(truth[truth > 0])) + len(np.unique(predicted[predicted > 0]))
    assert score(predicted, truth).ap75 == pytest.approx(n / (total - n) if total else 1.0)
    assert score(predicted, truth).ap75 == score(predicted, truth, STRICT).accuracy


@pytest.mark.skipif(find_spec("elf") is None, reason="python-elf is not installed (it comes with the group dev)")
@settings(max_examples=60, deadline=None)
@given(pairs(), st.sampled_from([0.501, 0.613, 0.777]))
def test_scores_equal_elf(pair, iou):
    from elf.evaluation import dice_score, mean_segmentation_accuracy
    from elf.evaluation import matching as elf_matching

    predicted, truth = pair
    if not predicted.any() or not truth.any():
        return  # see the next test
    ours, theirs = score(predicted, truth, iou), elf_matching(predicted, truth, threshold=iou)
    _, (strict,) = mean_segmentation_accuracy(predicted, truth, [STRICT + 1e-9], return_accuracies=True)
    assert ours.ap75 == pytest.approx(strict)
    assert ours.f1 == pytest.approx(theirs["f1"])
    assert ours.precision == pytest.approx(theirs["precision"])
    assert ours.recall == pytest.approx(theirs["recall"])
    assert ours.accuracy == pytest.approx(theirs["segmentation_accuracy"])
    assert ours.dice == pytest.approx(dice_score(predicted, truth, threshold_seg=0, threshold_gt=0))


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
        assert (s.f1, s.accuracy, s.precision, s.recall, s.panoptic, s.dice, s.ap75) == (0,) * 7
    assert pool([count(nothing, nothing), count(something, something)]).f1 == 1.0


def test_exactly_half_is_no_match():
    truth = np.array([[[1, 1, 0, 0]]])
    assert count(np.array([[[1, 0, 0, 0]]]), truth).n_matched == 0
    assert count(np.array([[[1, 0, 0, 0]]]), truth, iou=0.49).n_matched == 1


def test_ignored_voxels_count_for_neither_side():
    truth, predicted = np.array([[[1, 1, 0, 2]]]), np.array([[[1, 0, 5, 5]]])
    ignore = np.array([[[False, True, True, True]]])
    assert count(predicted, truth, ignore=ignore) == Counts(1, 1, 1, 1.0, 1, 1, 1, 1)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), ignore=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="differ in shape"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int))
    with pytest.raises(ValueError, match="threshold"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), iou=1.0)


def test_both_empty_is_perfect_where_elf_says_nothing_was_found():
    """An empty patch that stays empty is right. elf gives 0 there, which would punish a model for an empty gate patch."""
    from elf.evaluation import matching as elf_matching

    nothing = np.zeros((1, 3, 3), np.uint8)
    assert elf_matching(nothing, nothing)["f1"] == 0
    s = score(nothing, nothing)
    assert (s.f1, s.accuracy, s.precision, s.recall, s.panoptic, s.dice, s.ap75) == (1,) * 7


@st.composite
def partly_seen(draw):
    predicted, truth = draw(pairs())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seen = np.zeros(truth.shape, bool)
    if draw(st.booleans()):  # some slices
        seen[sorted(rng.choice(len(seen), int(rng.integers(1, len(seen) + 1)), replace=False))] = True
    else:  # a box
        low = [int(rng.integers(0, n)) for n in truth.shape]
        high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, truth.shape, strict=True)]
        seen[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return predicted, truth, ~seen


def counted_by_hand(predicted, truth, ignore, iou=0.5):
    """Oracle, object by object: (n_true, n_predicted, n_matched), matches from all pairs (IoU above a half is unique)."""
    objects = []
    for image in (truth, predicted):
        found = []
        for i in np.unique(image[image > 0]):
            cells = {tuple(int(k) for k in v) for v in np.argwhere(image == i)}
            left = {v for v in cells if not ignore[v]}
            in_slices_looked_at = {v for v in cells if not ignore[v[0]].all()}
            if left:
                found.append((left, 2 * len(in_slices_looked_at - left) > len(in_slices_looked_at)))
        objects.append(found)
    ours, theirs = objects
    pairs_ = [
        (a, b)
        for a, (mine, _) in enumerate(ours)
        for b, (other, _) in enumerate(theirs)
        if len(mine & other) / len(mine | other) > iou
    ]
    n_true = sum(a in {p[0] for p in pairs_} or not outside for a, (_, outside) in enumerate(ours))
    n_predicted = sum(b in {p[1] for p in pairs_} or not outside for b, (_, outside) in enumerate(theirs))
    return n_true, n_predicted, len(pairs_)


@settings(max_examples=200, deadline=None)
@given(partly_seen())
def test_what_was_not_looked_at_is_taken_out_of_both_maps(case):
    predicted, truth, ignore = case
    got = count(predicted, truth, ignore=ignore)
    assert (got.n_true, got.n_predicted, got.n_matched) == counted_by_hand(predicted, truth, ignore)
    seen = ~ignore
    assert got.true_voxels == (truth[seen] > 0).sum() and got.predicted_voxels == (predicted[seen] > 0).sum()
    assert got.common_voxels == ((truth[seen] > 0) & (predicted[seen] > 0)).sum()
    assert count(predicted, truth, ignore=np.zeros_like(ignore)) == count(predicted, truth)


def test_an_object_mostly_outside_is_not_counted_unless_it_was_found():
    truth = np.zeros((3, 4, 10), np.uint8)
    truth[1, :, 3:8] = 1  # two of its five columns are in the part that was looked at
    ignore = np.ones(truth.shape, bool)
    ignore[1, :, :5] = False
    nothing = np.zeros_like(truth)
    assert count(nothing, truth, ignore=ignore).n_true == 0
    assert count(truth, nothing, ignore=ignore).n_predicted == 0
    assert count(truth, truth, ignore=ignore).n_matched == count(truth, truth, ignore=ignore).n_true == 1
    truth[1, :, 2] = 1  # three of six: no more than half is outside
    assert count(nothing, truth, ignore=ignore).n_true == 1


def test_an_object_in_one_slice_that_was_looked_at_counts_however_far_it_goes_on():
    truth = np.ones((9, 4, 4), np.uint8)
    ignore = np.ones(truth.shape, bool)
    ignore[4] = False
    assert count(np.zeros_like(truth), truth, ignore=ignore).n_true == 1
    assert count(truth, np.zeros_like(truth), ignore=ignore).n_predicted == 1
