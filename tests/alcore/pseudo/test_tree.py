"""The component tree in blocks against one built naively from the whole array, and selection against trying everything."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from alcore.arrays.blocking import core_shape, layout, with_halo
from alcore.pseudo.blocks import Checkpoints
from alcore.pseudo.grid import Grid
from alcore.pseudo.passes import chosen_of_all
from alcore.pseudo.settle import Settled, settle
from alcore.pseudo.tree import Criteria, Nodes, block_nodes, join, opened_levels, select
from alcore.types import Box

shapes = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))


def grid_of(shape: tuple[int, int, int], radius: float = 2.0) -> Grid:
    return Grid(radius, (1, 1, 1), (1.0, 1.0, 1.0), shape, shape)


@given(shape=shapes, seed=st.integers(0, 999), voxels=st.integers(8, 200), radius=st.sampled_from([1.0, 2.0, 2.9]))
@settings(max_examples=60, deadline=None)
def test_blocks_join_to_the_tree_of_the_whole(
    shape: tuple[int, int, int], seed: int, voxels: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    grid = grid_of(shape, radius)
    raw = rng.integers(0, 5, shape).astype(np.uint8)
    level = np.minimum(raw, rng.integers(0, 6, shape)).astype(np.uint8)
    value = rng.normal(size=shape).astype(np.float32)
    reach = np.abs(grid.neighbourhood).max(0)
    core = core_shape(shape, voxels)
    tables, maps, boxes = [], [], layout(shape, core)
    for box in boxes:
        outer, where = with_halo(box, (int(reach[0]), int(reach[1]), int(reach[2])), shape)
        node, table = block_nodes(level[outer.slices], raw[outer.slices], value[outer.slices], box, where, grid)
        tables.append(table)
        maps.append(node)
    offsets = np.cumsum([0] + [len(t.level) for t in tables])
    numbers = np.zeros(shape, np.int64)
    for box, node, offset in zip(boxes, maps, offsets, strict=False):
        numbers[box.slices] = node + offset
    faces = []
    for axis in range(3):
        a, b = (np.take(numbers, range(*r), axis).ravel() for r in ((0, shape[axis] - 1), (1, shape[axis])))
        low, high = (np.take(level, range(*r), axis).ravel() for r in ((0, shape[axis] - 1), (1, shape[axis])))
        both = (low > 0) & (high > 0) & _different_block(a, b, offsets)
        faces.append((a[both], b[both]))
    tree, row = join(tables, faces)
    assert _figures(tree) == _oracle(level, raw, value, grid)
    assert np.array_equal(tree.level[row[numbers]], level)
    parents = tree.level[tree.parent]
    assert (parents[tree.level > 0] == tree.level[tree.level > 0] - 1).all()


@given(shape=shapes, seed=st.integers(0, 9999), voxels=st.integers(8, 200), radius=st.sampled_from([1.0, 2.0]))
@settings(max_examples=80, deadline=None)
def test_deciding_in_blocks_chooses_the_objects_of_the_whole(
    shape: tuple[int, int, int], seed: int, voxels: int, radius: float, tmp_path_factory: Any
) -> None:
    rng = np.random.default_rng(seed)
    grid, criteria = grid_of(shape, radius), Criteria(0.0, 1.0, 0.01, 1e6)
    raw = ndimage.gaussian_filter(rng.normal(size=shape), 0.7)
    level = np.searchsorted(np.quantile(raw, [0.2, 0.4, 0.6, 0.8]), raw).astype(np.uint8)
    value = (np.rint(raw * 2**16) / 2**16).astype(np.float32)
    whole = Box((0, 0, 0), shape)
    node, tree = block_nodes(level, level, value, whole, whole.slices, grid)
    expected = select(tree, grid, criteria)

    reach = tuple(int(k) for k in np.abs(grid.neighbourhood).max(0))
    core = core_shape(shape, voxels)
    boxes, found = layout(shape, core), []
    kept = Checkpoints(tmp_path_factory.mktemp("blocks"))
    nodes = kept.grid("nodes", shape, np.int32)
    for box in boxes:
        outer, where = with_halo(box, reach, shape)
        own, table = block_nodes(level[outer.slices], level[outer.slices], value[outer.slices], box, where, grid)
        nodes[box.slices], settled = settle(own, table, box, grid, criteria)
        found.append(Settled.from_arrays(settled.arrays()))
    objects = chosen_of_all(grid, nodes, boxes, core, found, criteria, kept)
    np.testing.assert_array_equal(objects.read(whole), expected.of_row[node])
    np.testing.assert_array_equal(objects.strength, expected.strength)
    assert objects.voxels == tree.voxels[expected.rows].sum()
    kept.close()


def _different_block(a: Any, b: Any, offsets: Any) -> Any:
    return np.searchsorted(offsets, a, side="right") != np.searchsorted(offsets, b, side="right")


def _figures(tree: Nodes) -> set[tuple[float, ...]]:
    return {
        tuple(round(float(v), 6) for v in figures)
        for figures in zip(
            tree.level, tree.first, tree.voxels, tree.total, tree.pairs, tree.outside, tree.leaks, strict=True
        )
        if figures[0] > 0
    }


def _oracle(level: Any, raw: Any, value: Any, grid: Grid) -> set[tuple[float, ...]]:
    """Figures of every component, voxel by voxel."""
    found = set()
    for threshold in range(1, int(level.max()) + 1):
        labels, n = ndimage.label(level >= threshold)
        for i in range(1, n + 1):
            members = np.argwhere(labels == i)
            pairs, outside, leaks = 0, 0.0, 0
            for voxel in members:
                for offset in grid.neighbourhood:
                    q = tuple(voxel + offset)
                    if all(0 <= k < m for k, m in zip(q, level.shape, strict=True)) and level[q] < threshold:
                        pairs += 1
                        outside += float(value[q])
                        leaks += int(raw[q] >= threshold)
            first = int(np.ravel_multi_index(tuple(members[0]), level.shape))
            total = value[labels == i].astype(float).sum()
            figures = (threshold, first, len(members), total, pairs, outside, leaks)
            found.add(tuple(round(float(v), 6) for v in figures))
    return found


@given(seed=st.integers(0, 9999))
@settings(max_examples=60, deadline=None)
def test_selection_is_the_best_set_of_components_that_exclude_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    level, parent = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for k in range(1, n + 1):
        parent[k] = rng.integers(0, k)
        level[k] = level[parent[k]] + 1
    voxels = rng.integers(5, 200, n + 1)
    tree = Nodes(
        level=level,
        parent=parent,
        voxels=voxels,
        total=voxels * rng.uniform(0, 2, n + 1),
        first=np.arange(n + 1),
        pairs=np.full(n + 1, 20),
        outside=20 * rng.uniform(-1, 1, n + 1),
        leaks=rng.integers(0, 12, n + 1),
        settled=np.zeros(n + 1),
    )
    grid = grid_of((40, 40, 40))
    criteria = Criteria(0.2, 0.45, 0.5, 400)
    chosen = select(tree, grid, criteria)

    contrast = tree.total / tree.voxels - tree.outside / tree.pairs
    strength = contrast * np.clip(1 - tree.leaks / tree.pairs / 0.45, 0, 1)
    size = tree.voxels / grid.ball_volume
    values = strength * np.cbrt(size)
    fit = [k for k in range(1, n + 1) if strength[k] >= 0.2 and 0.5 <= size[k] <= 400]

    def above(k: int) -> set[int]:
        return set() if k == 0 else {k} | above(int(parent[k]))

    best = 0.0
    for count in range(1, len(fit) + 1):
        for group in combinations(fit, count):
            if not any(a != b and a in above(b) for a in group for b in group):
                best = max(best, float(values[list(group)].sum()))
    assert abs(values[chosen.rows].sum() - best) < 1e-8
    assert not any(a != b and a in above(b) for a in chosen.rows for b in chosen.rows)
    for k in range(1, n + 1):
        owners = above(k) & set(chosen.rows.tolist())
        expected = int(np.flatnonzero(chosen.rows == owners.pop())[0]) + 1 if owners else 0
        assert chosen.of_row[k] == expected


@given(shape=shapes, seed=st.integers(0, 99), radius=st.sampled_from([1.0, 1.5, 2.0]))
@settings(max_examples=30, deadline=None)
def test_opening_is_that_of_every_threshold(shape: tuple[int, int, int], seed: int, radius: float) -> None:
    level = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    grid = grid_of(shape, radius)
    opened = opened_levels(level, grid)
    assert (opened <= level).all()
    reach = int(radius)
    ball = np.zeros((2 * reach + 1,) * 3, bool)
    ball[tuple((grid.ball(radius) + reach).T)] = True
    for threshold in range(1, 4):
        padded = np.pad(level >= threshold, reach, mode="edge")
        eroded = ndimage.binary_erosion(padded, ball)[(slice(reach, -reach),) * 3]
        dilated = ndimage.binary_dilation(np.pad(eroded, reach, mode="edge"), ball)[(slice(reach, -reach),) * 3]
        assert np.array_equal(opened >= threshold, dilated & (level >= threshold))


@given(shape=shapes, voxels=st.integers(1, 300), step=st.tuples(*[st.integers(1, 4)] * 3))
def test_blocks_tile_and_are_small_enough(shape: tuple[int, int, int], voxels: int, step: tuple[int, int, int]) -> None:
    core = core_shape(shape, voxels, step)
    assert all(c % s == 0 and c >= s for c, s in zip(core, step, strict=True))
    assert np.prod(core) <= voxels or core == step
    hits, raster = np.zeros(shape, int), np.arange(np.prod(shape)).reshape(shape)
    for box in layout(shape, core):
        hits[box.slices] += 1
        outer, inner = with_halo(box, (1, 2, 3), shape)
        assert np.array_equal(raster[outer.slices][inner], raster[box.slices])
        assert Box((0, 0, 0), shape).overlaps(outer)
    assert (hits == 1).all()
