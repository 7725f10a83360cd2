"""What another model changes, against an implementation that looks at every pair of objects by itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.arrays.changes import changes, counts, differences

Ids = npt.NDArray[np.uint32]


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def best(mask: npt.NDArray[np.bool_], ids: Ids) -> float:
    return max((iou(mask, ids == i) for i in np.unique(ids) if i), default=0.0)


def told(truth: Ids, a: Ids, b: Ids) -> list[tuple[str, int]]:
    """(kind, voxels) by pairs."""
    found = []
    for i in np.unique(truth[truth > 0]):
        p, q = best(truth == i, a), best(truth == i, b)
        n = int((truth == i).sum())
        if p <= 0.5 < q:
            found.append(("gained", n))
        elif q <= 0.5 < p:
            found.append(("lost", n))
        elif p > 0.5 and q - p >= 0.1:
            found.append(("better", n))
        elif p > 0.5 and p - q >= 0.1:
            found.append(("worse", n))
    for kind, mine, other in (("invented", b, a), ("no longer invented", a, b)):
        for i in np.unique(mine[mine > 0]):
            if best(mine == i, truth) <= 0.5 and best(mine == i, other) <= 0.5:
                found.append((kind, int((mine == i).sum())))
    return sorted(found)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.0, 0.5))
def test_every_object_is_told_as_by_looking_at_all_pairs(seed, n, damage):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n + 1, (2, 3, 4), dtype=np.uint32) * 7
    a, b = (np.where(rng.random(truth.shape) < damage, rng.integers(0, n + 1, truth.shape), truth) for _ in range(2))
    a, b = a.astype(np.uint32), b.astype(np.uint32)
    found = changes(truth, a, b)
    assert sorted((c.kind, c.voxels) for c in found) == told(truth, a, b)
    assert sum(counts(found).values()) == len(found)
    assert [c.voxels for c in found] == sorted((c.voxels for c in found), reverse=True)
    # without a truth: what is in one map alone
    alone = counts(differences(a, b))
    for kind, mine, other in (("lost", a, b), ("gained", b, a)):
        assert alone[kind] == sum(best(mine == i, other) <= 0.5 for i in np.unique(mine[mine > 0]))


def test_an_object_is_found_where_it_lies():
    truth = np.zeros((4, 20, 20), np.uint32)
    truth[1:3, 2:5, 10:15] = 9
    (change,) = changes(truth, np.zeros_like(truth), truth)
    assert (change.kind, change.voxels, change.iou_a, change.iou_b) == ("gained", 30, 0.0, 1.0)
    assert truth[change.centre] == 9


def test_maps_of_other_shapes_are_refused():
    small, large = np.zeros((1, 2, 2), np.uint32), np.zeros((1, 2, 3), np.uint32)
    with pytest.raises(ValueError, match="cannot be compared"):
        changes(small, small, large)
    with pytest.raises(ValueError, match="cannot be compared"):
        differences(small, large)
