"""Objects of patches: read in parts of any size they equal a look at the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.patch_objects import shares
from alcore.arrays.tiling import tile
from alcore.types import Box


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.booleans())
def test_parts_equal_the_whole(seed: int, most_px: int, overlapping: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (20, 13, 17)
    labels = np.repeat(rng.integers(0, 5, (4, 13, 17)), 5, axis=0).astype(np.uint32)
    boxes = tile(shape, (9, 5, 6)) + ([Box((3, 4, 5), (10, 6, 7))] if overlapping else [])
    areas: list[Box] = []
    ticks: list[float] = []

    def read(area: Box) -> np.ndarray:
        areas.append(area)
        return labels[area.slices]

    found = shares(boxes, 4, read, most_px, ticks.append).result()
    assert max(a.voxels for a in areas) <= max(most_px, 9 * 9)
    assert ticks[-1] == 1
    sizes = sum(np.bincount(labels[b.slices].ravel(), minlength=5) for b in boxes)
    for row, box in enumerate(boxes):
        here = labels[box.slices]
        assert found["foreground"][row] == pytest.approx((here > 0).mean(), abs=1e-6)
        expected = sum((here == i).sum() / sizes[i] for i in range(1, 5) if sizes[i])
        assert found["n_objects"][row] == pytest.approx(expected, abs=1e-5)
    assert found["n_objects"].sum() == pytest.approx((sizes[1:] > 0).sum(), abs=1e-4)
