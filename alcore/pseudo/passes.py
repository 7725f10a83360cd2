"""The passes of the threshold backend over a whole volume: working grid, background, component tree; block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import Zyx, core_shape, layout, with_halo
from alcore.arrays.diskgrid import DiskGrid
from alcore.pseudo.background import BYTES_PER_CELL, Background, normalise
from alcore.pseudo.blocks import Checkpoints, for_each
from alcore.pseudo.grid import Grid, averaged, cell_sums
from alcore.pseudo.settle import Settled, settle
from alcore.pseudo.survey import Finding, quantise
from alcore.pseudo.tree import Criteria, block_nodes, join, opened_levels, select
from alcore.stage import Context
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader

BYTES_PER_WORKING_VOXEL = 200
"""Memory that the components of a block take per working voxel, its halo included."""
LEAST_CORE = 8
"""A block is no shorter than this along an axis, and no shorter than its halo, however little memory there is."""


@dataclass(frozen=True)
class Blocks:
    """How much of a volume is in memory at a time. The objects do not depend on it.

    read: voxels of the volume. working: working voxels with their halo. core: working voxels without it. cells: of the
    background.
    """

    read: int
    working: int
    core: int
    cells: int

    @classmethod
    def of(cls, ram_bytes: int, block_voxels: int, info: VolumeInfo, factor: Zyx) -> Blocks:
        """Blocks for a stage that may use `ram_bytes`, of at most `block_voxels` voxels."""
        item = np.dtype(info.dtype).itemsize
        per_voxel = (info.shape[0] + 2) * item + 48 / math.prod(factor)
        return cls(
            read=max(1, min(block_voxels, int(ram_bytes / 8 / per_voxel))),
            working=max(1, ram_bytes // 2 // BYTES_PER_WORKING_VOXEL),
            core=max(1, block_voxels // 16),
            cells=max(1, ram_bytes // 4 // BYTES_PER_CELL),
        )


@dataclass(frozen=True)
class Objects:
    """The objects of a volume on its working grid, still on disk.

    ids (Z, Y, X) uint32 of working voxels, 0 = none. strength: of objects 1..n, in the order of their first voxels.
    voxels: working voxels in all of them.
    """

    grid: Grid
    ids: DiskGrid
    strength: npt.NDArray[np.float64]
    voxels: int

    def read(self, box: Box) -> npt.NDArray[np.uint32]:
        """Object ids (Z, Y, X) of a box of working voxels."""
        ids: npt.NDArray[np.uint32] = self.ids[box.slices]
        return ids


def find_objects(
    volume: VolumeReader,
    info: VolumeInfo,
    finding: Finding,
    criteria: Criteria,
    blocks: Blocks,
    kept: Checkpoints,
    ctx: Context,
    span: tuple[float, float],
) -> Objects:
    """Objects of the whole volume. Memory: `blocks`, and some bytes for each object and each component between blocks."""
    grid = Grid.of(info.zyx, info.spacing, finding.radius)
    middle = span[0] + (span[1] - span[0]) * 0.3
    working = kept.grid("working", grid.shape, np.float32)
    background = _average_all(volume, finding.channel, grid, working, blocks, kept, ctx, (span[0], middle))

    nodes = kept.grid("nodes", grid.shape, np.int32)
    core = _core(grid, blocks)
    boxes = layout(grid.shape, core)

    def components(box: Box) -> Mapping[str, npt.NDArray[Any]]:
        outer, where = with_halo(box, grid.halo, grid.shape)
        sharp, smoothed = normalise(working[outer.slices], background, outer, grid.sigma)
        level = quantise(finding.polarity * smoothed, finding.thresholds)
        node, table = block_nodes(opened_levels(level, grid), level, finding.polarity * sharp, box, where, grid)
        nodes[box.slices], settled = settle(node, table, box, grid, criteria)
        nodes.flush()
        return settled.arrays()

    found = [Settled.from_arrays(t) for t in for_each(boxes, components, kept, "components", ctx, (middle, span[1]))]
    return chosen_of_all(grid, nodes, boxes, core, found, criteria, kept)


def _core(grid: Grid, blocks: Blocks) -> Zyx:
    """Extent of the blocks in which components are found."""
    z, y, x = (min(n, max(LEAST_CORE, h)) for n, h in zip(grid.shape, grid.halo, strict=True))
    by_memory = core_shape(grid.shape, blocks.working, (z, y, x), grid.halo)
    as_wanted = core_shape(grid.shape, blocks.core)
    return min(by_memory, as_wanted, key=math.prod)


def chosen_of_all(
    grid: Grid,
    nodes: DiskGrid,
    boxes: list[Box],
    core: Zyx,
    found: list[Settled],
    criteria: Criteria,
    kept: Checkpoints,
) -> Objects:
    """Objects chosen within blocks and in the joined tree, numbered together by their first voxels, written voxel by voxel.

    nodes (Z, Y, X) int32: voxels of each box in the numbering of its `found`, see `Settled`.
    """
    offsets = np.cumsum([0] + [len(s.open.level) for s in found])
    tree, row = join([s.open for s in found], list(_faces(nodes, boxes, grid.shape, core, offsets)))
    selection = select(tree, grid, criteria)
    first, voxels = tree.first, tree.voxels
    valid = [selection.of_row[row[s.anchor + start]] == 0 for s, start in zip(found, offsets, strict=False)]
    starts = np.cumsum([len(selection.rows)] + [int(v.sum()) for v in valid])
    firsts = np.concatenate([first[selection.rows], *(s.first[v] for s, v in zip(found, valid, strict=True))])
    strength = np.concatenate([selection.strength, *(s.strength[v] for s, v in zip(found, valid, strict=True))])
    total = int(voxels[selection.rows].sum()) + sum(int(s.voxels[v].sum()) for s, v in zip(found, valid, strict=True))
    order = np.argsort(firsts, kind="stable")
    number = np.zeros(len(order) + 1, np.uint32)
    number[order + 1] = np.arange(1, len(order) + 1)

    ids = kept.grid("ids", grid.shape, np.uint32)
    for box, settled, counts, offset, start in zip(boxes, found, valid, offsets[:-1], starts[:-1], strict=True):
        in_tree = selection.of_row[row[offset : offset + len(settled.open.level)]]
        own = np.where(counts, start + np.cumsum(counts), in_tree[settled.anchor])
        ids[box.slices] = number[np.concatenate([in_tree, own])][nodes[box.slices]]
    return Objects(grid, ids, strength[order], total)


def _average_all(
    volume: VolumeReader,
    channel: int,
    grid: Grid,
    working: DiskGrid,
    blocks: Blocks,
    kept: Checkpoints,
    ctx: Context,
    span: tuple[float, float],
) -> Background:
    """Fill the working grid from the volume, each of whose voxels is read once, and measure its background."""
    boxes = layout(grid.shape, core_shape(grid.shape, max(1, blocks.read // math.prod(grid.factor)), grid.cell))
    z, y, x = (-(-n // c) for n, c in zip(grid.shape, grid.cell, strict=True))
    sums = {name: kept.grid(name, (z, y, x), np.float32) for name in ("total", "squares", "count")}

    def work(box: Box) -> Mapping[str, npt.NDArray[Any]]:
        part = averaged(volume, channel, grid, box, blocks.read)
        working[box.slices] = part
        corner = [a // c for a, c in zip(box.start, grid.cell, strict=True)]
        for name, values in cell_sums(part, grid.cell).items():
            d, h, w = values.shape
            sums[name][Box((corner[0], corner[1], corner[2]), (d, h, w)).slices] = values
        for written in (working, *sums.values()):
            written.flush()
        return {}

    for _ in for_each(boxes, work, kept, "averages", ctx, span):
        pass
    return Background.of(grid, sums["total"], sums["squares"], sums["count"], kept.grid, blocks.cells)


def _faces(
    nodes: DiskGrid, boxes: list[Box], shape: Zyx, core: Zyx, offsets: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs of nodes that touch across a border of two blocks, each pair once per border."""
    blocks = [-(-n // c) for n, c in zip(shape, core, strict=True)]
    to_next = (blocks[1] * blocks[2], blocks[2], 1)
    for index, box in enumerate(boxes):
        for axis in range(3):
            if box.stop[axis] == shape[axis]:
                continue
            start, extent = list(box.start), list(box.shape)
            start[axis], extent[axis] = box.stop[axis] - 1, 2
            both = nodes[Box((start[0], start[1], start[2]), (extent[0], extent[1], extent[2])).slices]
            here, there = (np.take(both, side, axis).ravel() for side in (0, 1))
            used = (here > 0) & (there > 0)
            pairs = np.unique(np.stack([here[used], there[used]]), axis=1)
            yield pairs[0] + offsets[index], pairs[1] + offsets[index + to_next[axis]]
