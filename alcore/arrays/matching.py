"""Compare predicted with true instances: one-to-one matching, and scores that pool over patches as sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.instancing import relabel_sequential
from alcore.types import Scores

STRICT = 0.75
"""IoU above which a match also counts for `Scores.ap75`."""


@dataclass(frozen=True)
class Counts:
    """What one patch adds to the scores. Add the counts of several patches, then take `scores`: sums, not means.

    sum_iou is over matched pairs, n_strict is how many of them have an IoU above `STRICT`; the voxel counts are of
    foreground (any instance).
    """

    n_true: int = 0
    n_predicted: int = 0
    n_matched: int = 0
    sum_iou: float = 0.0
    true_voxels: int = 0
    predicted_voxels: int = 0
    common_voxels: int = 0
    n_strict: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.n_true + other.n_true,
            self.n_predicted + other.n_predicted,
            self.n_matched + other.n_matched,
            self.sum_iou + other.sum_iou,
            self.true_voxels + other.true_voxels,
            self.predicted_voxels + other.predicted_voxels,
            self.common_voxels + other.common_voxels,
            self.n_strict + other.n_strict,
        )

    def scores(self) -> Scores:
        """Scores of everything counted. Nothing there and nothing predicted is a perfect result: 1 for all."""
        tp, fp, fn = self.n_matched, self.n_predicted - self.n_matched, self.n_true - self.n_matched
        empty = self.n_true == 0 and self.n_predicted == 0

        def ratio(numerator: float, denominator: float) -> float:
            if empty:
                return 1.0
            return numerator / denominator if denominator else 0.0

        return Scores(
            f1=ratio(2 * tp, 2 * tp + fp + fn),
            accuracy=ratio(tp, tp + fp + fn),
            precision=ratio(tp, tp + fp),
            recall=ratio(tp, tp + fn),
            panoptic=ratio(self.sum_iou, tp + fp / 2 + fn / 2),
            dice=ratio(2 * self.common_voxels, self.true_voxels + self.predicted_voxels),
            ap75=ratio(self.n_strict, self.n_true + self.n_predicted - self.n_strict),
            n_true=self.n_true,
            n_predicted=self.n_predicted,
            n_matched=tp,
        )


def count(
    predicted: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    iou: float = 0.5,
    ignore: npt.NDArray[np.bool_] | None = None,
) -> Counts:
    """Match instances (Z, Y, X), 0 = background, one to one where IoU > `iou` (strictly, in 0..1).

    From 0.5 upwards at most one partner exists (Kirillov et al. 2019); below, the assignment with the most matches is
    taken and, among those, the one with the largest sum of IoU.

    ignore: True where nobody looked. These voxels are taken out of both maps before matching. An object that then finds
    no partner is not counted, neither as missed nor as invented, if it is mostly outside what was looked at: if more
    than half of its voxels in the slices that were looked at are ignored. (Kirillov et al. 2019, Sec. 4.1, but by slice:
    an object that goes on above and below a slice that was looked at is as whole in it as one at the end of a patch.)

    Raises ValueError for shapes that differ, dtypes that are not integer, negative ids or a threshold outside [0, 1).
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} differ in shape")
    if not 0 <= iou < 1:
        raise ValueError(f"IoU threshold must be in [0, 1), got {iou}")
    p, t = relabel_sequential(predicted).ravel(), relabel_sequential(truth).ravel()
    p_outside, t_outside = (np.zeros(int(m.max(initial=0)) + 1, bool) for m in (p, t))
    if ignore is not None:
        if ignore.shape != truth.shape:
            raise ValueError(f"ignore {ignore.shape} and truth {truth.shape} differ in shape")
        p_outside, t_outside = (_mostly_ignored(m.reshape(truth.shape), ignore) for m in (p, t))
        seen = ~ignore.ravel()
        p, t = p[seen], t[seen]
    p_sizes, t_sizes = (np.bincount(m, minlength=len(o)) for m, o in ((p, p_outside), (t, t_outside)))
    true_id, predicted_id, common = overlaps(t, p)
    ious = common / (t_sizes[true_id] + p_sizes[predicted_id] - common)
    pairs = np.flatnonzero(ious > iou)
    if iou < 0.5:
        pairs = pairs[_best_assignment(true_id[pairs], predicted_id[pairs], ious[pairs])]
    return Counts(
        n_true=_n_counted(t_sizes, t_outside, true_id[pairs]),
        n_predicted=_n_counted(p_sizes, p_outside, predicted_id[pairs]),
        n_matched=len(pairs),
        sum_iou=float(ious[pairs].sum()),
        true_voxels=int(t_sizes[1:].sum()),
        predicted_voxels=int(p_sizes[1:].sum()),
        common_voxels=int(common.sum()),
        n_strict=int((ious[pairs] > STRICT).sum()),
    )


def overlaps(
    one: npt.NDArray[np.unsignedinteger[Any]], other: npt.NDArray[np.unsignedinteger[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Objects of two maps of one shape that share voxels: (id in one, id in the other, shared voxels), (N,) each."""
    both = (one > 0) & (other > 0)
    width = int(other.max(initial=0)) + 1
    keys, common = np.unique(one[both].astype(np.int64) * width + other[both], return_counts=True)
    of_one, of_other = np.divmod(keys, width)
    return of_one, of_other, common


def _mostly_ignored(ids: npt.NDArray[np.uint32], ignore: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """For ids 0..n of a map (Z, Y, X): are more than half of its voxels, in slices that are not ignored as a whole, ignored?"""
    n = int(ids.max(initial=0)) + 1
    slices = ~ignore.all(axis=(1, 2))
    all_, ignored = ids[slices], ids[slices][ignore[slices]]
    mostly: npt.NDArray[np.bool_] = 2 * np.bincount(ignored, minlength=n) > np.bincount(all_.ravel(), minlength=n)
    return mostly


def _n_counted(sizes: npt.NDArray[np.int64], outside: npt.NDArray[np.bool_], matched: npt.NDArray[np.int64]) -> int:
    """Objects that have voxels left and are matched or not mostly outside. sizes, outside: by id, 0 = background."""
    counted = (sizes > 0) & ~outside
    counted[matched] = True
    return int(counted[1:].sum())


def score(
    predicted: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    iou: float = 0.5,
    ignore: npt.NDArray[np.bool_] | None = None,
) -> Scores:
    """Scores of one patch: see `count`."""
    return count(predicted, truth, iou, ignore).scores()


def pool(counts: Iterable[Counts]) -> Scores:
    """Scores over several patches, from their summed matches: a patch with many instances weighs more."""
    return sum(counts, Counts()).scores()


def _best_assignment(
    true_id: npt.NDArray[np.int64], predicted_id: npt.NDArray[np.int64], ious: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Indices of the candidate pairs chosen one to one: most pairs first, then the largest sum of IoU."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(ious):
        return np.empty(0, np.int64)
    offset = int(true_id.max()) + 1
    nodes = offset + int(predicted_id.max()) + 1
    graph = coo_array((np.ones(len(ious)), (true_id, offset + predicted_id)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    group = component[true_id]  # clusters of overlapping instances are independent: small dense problems, not one huge
    order = np.argsort(group, kind="stable")
    chosen: list[npt.NDArray[np.int64]] = []
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        rows, row = np.unique(true_id[members], return_inverse=True)
        columns, column = np.unique(predicted_id[members], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        gain[row, column] = ious[members] + min(gain.shape)  # one more pair outweighs any sum of IoU
        index = np.full(gain.shape, -1)
        index[row, column] = members
        pairs = index[linear_sum_assignment(gain, maximize=True)]
        chosen.append(pairs[pairs >= 0])
    return np.concatenate(chosen)
