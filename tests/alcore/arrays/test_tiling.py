"""Tiles cover the volume exactly once and are as equal as integers allow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.arrays.tiling import tile

LENGTHS = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
PATCHES = st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))


@given(LENGTHS, PATCHES)
def test_every_voxel_is_covered_once(shape, patch):
    boxes = tile(shape, patch)
    assert sum(b.voxels for b in boxes) == shape[0] * shape[1] * shape[2]
    assert all(min(b.start) >= 0 and all(s <= n for s, n in zip(b.stop, shape, strict=True)) for b in boxes)
    assert len({b.start for b in boxes}) == len(boxes)
    # full volume and no two overlap: covered exactly once (neighbours in a grid are the only candidates)
    grid = [sorted({(b.start[a], b.stop[a]) for b in boxes}) for a in range(3)]
    for spans in grid:
        assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    assert len(boxes) == len(grid[0]) * len(grid[1]) * len(grid[2])


@given(LENGTHS, PATCHES)
def test_tiles_are_balanced_and_near_the_wanted_size(shape, patch):
    boxes = tile(shape, patch)
    for axis in range(3):
        lengths = {b.shape[axis] for b in boxes}
        assert max(lengths) - min(lengths) <= 1
        if shape[axis] >= patch[axis]:
            n = len({b.start[axis] for b in boxes})
            assert abs(shape[axis] / patch[axis] - n) <= 0.5
        else:
            assert lengths == {shape[axis]}


def test_raster_order_and_known_cuts():
    boxes = tile((30, 512, 512), (32, 256, 300))
    assert [b.start for b in boxes] == [(0, 0, 0), (0, 0, 256), (0, 256, 0), (0, 256, 256)]
    assert {b.shape for b in boxes} == {(30, 256, 256)}
    assert [b.shape[2] for b in tile((1, 1, 10), (1, 1, 4))] == [3, 3, 4]


@pytest.mark.parametrize(("shape", "patch"), [((0, 5, 5), (1, 1, 1)), ((5, 5, 5), (1, 0, 1)), ((5, 5), (1, 1, 1))])
def test_lengths_below_one_are_refused(shape, patch):
    with pytest.raises(ValueError, match="three positive lengths"):
        tile(shape, patch)
