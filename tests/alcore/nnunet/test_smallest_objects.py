"""How small an object may be: specks go, whose number counts and whose volume does not; most objects stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.nnunet.case import Arrays, Case
from alcore.nnunet.training import smallest_object_voxels


def cases(*patches: list[int]) -> list[Case]:
    """One case per list of sizes of objects."""

    def case(n: int, sizes: list[int]) -> Case:
        labels = np.repeat(np.arange(len(sizes) + 1, dtype=np.uint32), [3, *sizes])[None, None]

        def load() -> Arrays:
            return np.zeros((1, *labels.shape), np.float32), labels

        return Case(str(n), None, load)

    return [case(n, sizes) for n, sizes in enumerate(patches)]


@pytest.mark.parametrize(
    ("patches", "least"),
    [
        ([[100] * 5, [100] * 5], 100),  # objects of one size all stay
        (
            [[9, 4, 2000], [2000], [2000, 2000]],
            9,
        ),  # 4 voxels are less than a hundredth, 13 as well, but then a third would go
        (
            [[4, 3000, 3000, 3000], [90, 90, 3000, 3000], [3000, 3000, 3000]],
            90,
        ),  # 4 + 90 voxels would be less than a hundredth
        ([[], [7]], 7),
        ([[], []], 0),
    ],
)
def test_specks_go_and_objects_stay(patches: list[list[int]], least: int) -> None:
    found = smallest_object_voxels(cases(*patches))
    sizes = sorted(s for sizes in patches for s in sizes)
    gone = [s for s in sizes if s < found]
    assert gone == [s for s in sizes if s < least]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_little_is_lost_and_no_more_could_be(sizes: list[int]) -> None:
    least = smallest_object_voxels(cases(sizes))

    def too_many(limit: int) -> bool:
        gone = [s for s in sizes if s < limit]
        return sum(gone) > 0.01 * sum(sizes) or len(gone) > 0.25 * len(sizes)

    assert not too_many(least)
    larger = [s for s in sizes if s > least]
    assert not larger or too_many(min(larger))  # the next size would take one too many
