"""Border and core: targets equal distances by brute force; instances equal a search voxel by voxel, whole or in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays import block_bordercore
from alcore.arrays.block_bordercore import BorderCoreInstances, instances
from alcore.arrays.bordercore import BORDER, CORE, border_core
from alcore.arrays.instancing import connected_components
from alcore.arrays.matching import score
from tests.alcore.arrays.test_instancing import flood_fill
from tests.alcore.arrays.test_matching import random_map

FACES = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))


def by_distance(labels, thickness, spacing, in_plane, unseen):
    """Oracle: the distance of every voxel to every voxel that is not its object, one by one."""
    out = np.zeros(labels.shape, np.uint8)
    places = np.argwhere(np.ones(labels.shape, bool))
    depth = np.full(labels.shape, np.inf)
    for v in places:
        own = labels[tuple(v)]
        if own:
            others = [w for w in places if labels[tuple(w)] != own and not (unseen is not None and unseen[tuple(w)])]
            others = [w for w in others if not in_plane or w[0] == v[0]]
            near = [np.linalg.norm((v - w) * np.asarray(spacing)) for w in others]
            depth[tuple(v)] = min(near, default=np.inf)
    for i in set(labels[labels > 0].tolist()):
        mine = labels == i
        limit = min(thickness, depth[mine].max() / 2)
        out[mine] = np.where(depth[mine] > limit + 1e-9, CORE, BORDER)
    if in_plane:
        beside = [((z, y, x), (z + d, y, x)) for z, y, x in places for d in (-1, 1) if 0 <= z + d < len(labels)]
        contact = {v for v, w in beside if labels[v] and labels[w] and labels[v] != labels[w]}
        kept = {labels[tuple(v)] for v in np.argwhere(out == CORE) if tuple(v) not in contact}
        for v in contact:
            if labels[v] in kept:
                out[v] = BORDER
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 4),
    st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    st.sampled_from([(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_border_is_what_lies_near_the_outside(shape, n, thickness, spacing, in_plane, sparse, seed):
    rng = np.random.default_rng(seed)
    labels = random_map(rng, shape, n)
    unseen = rng.random(shape) < 0.3 if sparse else None
    if unseen is not None:
        labels[unseen] = 0
    got = border_core(labels, thickness, spacing, in_plane, unseen)
    np.testing.assert_array_equal(got, by_distance(labels, thickness, spacing, in_plane, unseen))


def search(classes, min_voxels, least_core, in_plane):
    """Oracle: cores by flood fill; then rings of voxels, each looking at the ring before, with plain Python."""
    ids = flood_fill(classes == CORE, least_core).astype(np.int64)
    n_cores = int(ids.max(initial=0))
    for faces in (FACES[2:], FACES) if in_plane else (FACES,):
        while True:
            reached = {}
            for v in map(tuple, np.argwhere((classes != 0) & (ids == 0))):
                beside = [tuple(a + b for a, b in zip(v, f, strict=True)) for f in faces]
                inside = [w for w in beside if all(0 <= a < s for a, s in zip(w, ids.shape, strict=True))]
                found = [ids[w] for w in inside if ids[w]]
                if found:
                    reached[v] = min(found)
            if not reached:
                break
            for v, i in reached.items():
                ids[v] = i
    others = flood_fill((classes != 0) & (ids == 0), min_voxels).astype(np.int64)
    out = np.zeros(classes.shape, np.uint32)
    n = 0
    for i in range(1, n_cores + 1):
        if (ids == i).sum() >= min_voxels:
            n += 1
            out[ids == i] = n
    out[others > 0] = others[others > 0] + n
    return out


CLASSES = st.builds(
    lambda shape, weights, seed: np.random.default_rng(seed).choice(3, shape, p=weights).astype(np.uint8),
    SHAPES,
    st.sampled_from([(0.3, 0.2, 0.5), (0.6, 0.1, 0.3), (0.1, 0.02, 0.88), (0.0, 0.0, 1.0), (0.4, 0.6, 0.0)]),
    st.integers(0, 2**32 - 1),
)
LEAST = st.integers(0, 4)


@settings(max_examples=100, deadline=None)
@given(CLASSES, LEAST, LEAST, st.booleans())
def test_instances_equal_a_search_voxel_by_voxel(classes, min_voxels, least_core, in_plane):
    got = instances(classes, min_voxels, least_core, in_plane)
    assert got.dtype == np.uint32
    np.testing.assert_array_equal(got, search(classes, min_voxels, least_core, in_plane))


@settings(max_examples=150, deadline=None)
@given(CLASSES, LEAST, LEAST, st.booleans(), st.tuples(*[st.integers(1, 9)] * 3), st.integers(1, 3))
def test_blocks_give_the_same_instances_as_the_whole(classes, min_voxels, least_core, in_plane, core, steps):
    stores = np.zeros(classes.shape, np.uint32), np.zeros(classes.shape, np.uint32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_bordercore, "STEPS", steps)  # several passes, as for objects with a wide border
        found = BorderCoreInstances(classes, *stores, classes.shape, core, min_voxels, least_core, in_plane)
        found.segment()
    whole = instances(classes, min_voxels, least_core, in_plane)
    got = np.zeros_like(whole)
    for box in found._boxes:
        got[box.slices] = found.final(box)
    np.testing.assert_array_equal(got, whole)
    assert found.n_objects == whole.max(initial=0)
    assert found.foreground_voxels == (whole > 0).sum()


def touching_columns(rng: np.random.Generator, shape: tuple[int, int, int] = (6, 96, 96)) -> np.ndarray:
    """Cells that fill most of a field and touch one another: nearest of jittered centres, some cells left out."""
    grid = np.stack(np.meshgrid(np.arange(8, shape[1], 16), np.arange(8, shape[2], 16), indexing="ij"), -1).reshape(
        -1, 2
    )
    centres = grid + rng.uniform(-4, 4, grid.shape)
    y, x = np.indices(shape[1:])
    distance = np.hypot(y[..., None] - centres[:, 0], x[..., None] - centres[:, 1])
    plane = np.where(distance.min(-1) < 10, distance.argmin(-1) + 1, 0)
    plane[np.isin(plane, rng.choice(len(centres), len(centres) // 5, replace=False) + 1)] = 0
    labels = np.repeat(plane[None], shape[0], axis=0)
    labels[0] = labels[-1] = 0
    return labels


@pytest.mark.parametrize("in_plane", [True, False])
def test_touching_objects_come_back_from_border_and_core_but_not_from_foreground(in_plane):
    truth = touching_columns(np.random.default_rng(0))
    classes = border_core(truth, 2.0, (4.0 if in_plane else 1.0, 1.0, 1.0), in_plane)
    ours = score(instances(classes, 20, 5, in_plane), truth)
    merged = score(connected_components(truth > 0, 20), truth)
    assert ours.f1 == 1.0 and ours.panoptic > 0.97
    assert merged.f1 < 0.2


def test_an_object_is_never_all_border():
    labels = np.zeros((1, 9, 30), np.uint8)
    labels[0, 4, 2:12], labels[0, 2:4, 14:20], labels[0, 1, 25] = 1, 2, 3  # one and two voxels wide, and a single voxel
    classes = border_core(labels, 5.0)
    assert {int(i) for i in np.unique(labels[classes == CORE])} == {1, 2, 3}
    np.testing.assert_array_equal(instances(classes) > 0, labels > 0)


def test_nothing_there():
    assert not border_core(np.zeros((2, 3, 3), int), 2.0).any()
    assert not instances(np.zeros((2, 3, 3), np.uint8)).any()
