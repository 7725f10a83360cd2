"""Components equal an independent flood fill, whole or in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.block_components import BlockComponents
from alcore.arrays.blocking import layout
from alcore.arrays.instancing import connected_components, relabel_sequential


def flood_fill(mask: np.ndarray, min_voxels: int = 0) -> np.ndarray:
    """Oracle: breadth-first search from each unseen voxel in raster order."""
    out = np.zeros(mask.shape, np.uint32)
    seen = np.zeros(mask.shape, bool)
    n = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        members = [start]
        for z, y, x in members:
            for dz, dy, dx in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
                at = (z + dz, y + dy, x + dx)
                if all(0 <= i < s for i, s in zip(at, mask.shape, strict=True)) and mask[at] and not seen[at]:
                    seen[at] = True
                    members.append(at)
        if len(members) >= min_voxels:
            n += 1
            out[tuple(np.array(members).T)] = n
    return out


MASKS = st.builds(
    lambda shape, density, seed: np.random.default_rng(seed).random(shape) < density,
    st.tuples(st.integers(1, 7), st.integers(1, 8), st.integers(1, 8)),
    st.sampled_from([0.0, 0.2, 0.35, 0.5, 0.7, 1.0]),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=80, deadline=None)
@given(MASKS, st.integers(0, 6))
def test_components_equal_a_flood_fill(mask, min_voxels):
    got = connected_components(mask, min_voxels)
    assert got.dtype == np.uint32
    np.testing.assert_array_equal(got, flood_fill(mask, min_voxels))


@settings(max_examples=120, deadline=None)
@given(MASKS, st.integers(0, 6), st.tuples(*[st.integers(1, 8)] * 3))
def test_blocks_give_the_same_instances_as_the_whole(mask, min_voxels, core):
    ids = np.zeros(mask.shape, np.uint32)
    blocks = BlockComponents(ids, mask.shape, min_voxels)
    for box in layout(mask.shape, core):
        blocks.add(box, mask[box.slices])
    found = blocks.finish()[ids]
    np.testing.assert_array_equal(found, connected_components(mask, min_voxels))
    assert blocks.foreground_voxels == (found > 0).sum()


def test_a_corner_does_not_connect():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[1, 0, 1] = True
    assert connected_components(mask).max() == 3


def test_no_block_at_all():
    np.testing.assert_array_equal(BlockComponents(np.zeros((0, 0, 0)), (0, 0, 0)).finish(), [0])


def test_what_is_too_small_and_ends_in_its_block_is_forgotten_at_once():
    mask = np.zeros((1, 4, 40), bool)
    mask[0, 1, 1:39:2] = True
    ids = np.zeros(mask.shape, np.uint32)
    blocks = BlockComponents(ids, mask.shape, 2)
    for box in layout(mask.shape, (1, 4, 10)):
        blocks.add(box, mask[box.slices])
    assert ids.max() == 3 and not blocks.finish().any()  # those at a face may go on


@given(
    st.lists(st.sampled_from([0, 1, 2, 5, 9, 10**9, 2**31 - 2]), max_size=30),
    st.sampled_from(["int32", "int64", "uint32"]),
)
def test_relabelling_keeps_instances_and_their_order(ids, dtype):
    labels = np.array(ids, dtype).reshape(1, 1, -1)
    got = relabel_sequential(labels)
    order = {old: new for new, old in enumerate(sorted(set(ids) - {0}), start=1)} | {0: 0}
    assert got.dtype == np.uint32
    assert got.ravel().tolist() == [order[i] for i in ids]


def test_relabelling_refuses_what_is_no_instance_map():
    with pytest.raises(ValueError, match="negative"):
        relabel_sequential(np.array([[[-1, 2]]]))
    with pytest.raises(ValueError, match="integers"):
        relabel_sequential(np.zeros((1, 2, 2)))
