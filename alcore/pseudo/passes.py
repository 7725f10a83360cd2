"""The passes of the threshold backend over a whole volume: working grid, background, component tree; block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.pseudo.blocks import Checkpoints, Zyx, core_shape, for_each, layout, with_halo
from alcore.pseudo.grid import Background, Grid, average, cell_sums, normalise
from alcore.pseudo.survey import Finding, quantise
from alcore.pseudo.tree import Criteria, Nodes, Selection, block_nodes, join, opened_levels, select
from alcore.stage import Context
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader

BYTES_PER_WORKING_VOXEL = 16
"""Working voxels cost this many times more memory than voxels as they are read, so that many fewer fit into a block."""


@dataclass(frozen=True)
class Objects:
    """The objects of a volume on its working grid, still on disk.

    nodes (Z, Y, X) int32 of working voxels: rows of each block's own table, 0 = none. boxes: the blocks, in order;
    offsets: where each block's table starts in the joined numbering. of_node: object id by joined numbering.
    """

    grid: Grid
    nodes: np.memmap[Any, Any]
    boxes: list[Box]
    core: Zyx
    offsets: npt.NDArray[np.int64]
    of_node: npt.NDArray[np.uint32]
    selection: Selection
    voxels: int

    def read(self, box: Box) -> npt.NDArray[np.uint32]:
        """Object ids (Z, Y, X) of a box of working voxels."""
        return self.of_node[_joined_numbers(self.nodes, box, self.grid.shape, self.core, self.offsets)]


def find_objects(
    volume: VolumeReader,
    info: VolumeInfo,
    finding: Finding,
    criteria: Criteria,
    block_voxels: int,
    kept: Checkpoints,
    ctx: Context,
    span: tuple[float, float],
) -> Objects:
    """Objects of the whole volume. Memory is bounded by `block_voxels` and the number of components, not by the volume."""
    grid = Grid.of(info.zyx, info.spacing, finding.radius)
    middle = span[0] + (span[1] - span[0]) * 0.3
    working = kept.array("working", grid.shape, np.float32)
    background = _average_all(volume, finding.channel, grid, working, block_voxels, kept, ctx, (span[0], middle))

    nodes = kept.array("nodes", grid.shape, np.int32)
    core = core_shape(grid.shape, max(1, block_voxels // BYTES_PER_WORKING_VOXEL))
    boxes = layout(grid.shape, core)

    def components(box: Box) -> Mapping[str, npt.NDArray[Any]]:
        outer, where = with_halo(box, grid.halo, grid.shape)
        sharp, smoothed = normalise(np.array(working[outer.slices]), background, outer, grid.sigma)
        level = quantise(finding.polarity * smoothed, finding.thresholds)
        node, table = block_nodes(opened_levels(level, grid), level, finding.polarity * sharp, box, where, grid)
        nodes[box.slices] = node
        nodes.flush()
        return table.arrays()

    tables = [Nodes(**t) for t in for_each(boxes, components, kept, "components", ctx, (middle, span[1]))]
    offsets = np.cumsum([0] + [len(t.level) for t in tables])
    tree, row = join(tables, _faces(nodes, grid.shape, core, offsets))
    selection = select(tree, grid, criteria)
    return Objects(
        grid=grid,
        nodes=nodes,
        boxes=boxes,
        core=core,
        offsets=offsets,
        of_node=selection.of_row[row],
        selection=selection,
        voxels=int(tree.voxels[selection.rows].sum()),
    )


def _average_all(
    volume: VolumeReader,
    channel: int,
    grid: Grid,
    working: np.memmap[Any, Any],
    block_voxels: int,
    kept: Checkpoints,
    ctx: Context,
    span: tuple[float, float],
) -> Background:
    """Fill the working grid from the volume, each of whose voxels is read once, and measure its background."""
    voxels = max(1, block_voxels // int(np.prod(grid.factor)))
    boxes = layout(grid.shape, core_shape(grid.shape, voxels, grid.cell))

    def averaged(box: Box) -> Mapping[str, npt.NDArray[Any]]:
        part = average(volume.read_as_stored(grid.full_box(box))[channel], grid.factor)
        working[box.slices] = part
        working.flush()
        return cell_sums(part, grid.cell)

    cells = [-(-n // c) for n, c in zip(grid.shape, grid.cell, strict=True)]
    sums = {name: np.zeros(cells, np.float32) for name in ("total", "squares", "count")}
    for box, part in zip(boxes, for_each(boxes, averaged, kept, "averages", ctx, span), strict=True):
        corner = [a // c for a, c in zip(box.start, grid.cell, strict=True)]
        for name, values in part.items():
            sums[name][tuple(slice(a, a + n) for a, n in zip(corner, values.shape, strict=True))] = values
    return Background.of(grid, **sums)


def _joined_numbers(
    nodes: np.memmap[Any, Any], box: Box, shape: Zyx, core: Zyx, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Rows of the concatenated tables for a box of working voxels."""
    blocks = [-(-n // c) for n, c in zip(shape, core, strict=True)]
    z, y, x = (np.arange(a, b) // c for a, b, c in zip(box.start, box.stop, core, strict=True))
    block = (z[:, None, None] * blocks[1] + y[:, None]) * blocks[2] + x
    numbers: npt.NDArray[np.int64] = nodes[box.slices] + offsets[block]
    return numbers


def _faces(
    nodes: np.memmap[Any, Any], shape: Zyx, core: Zyx, offsets: npt.NDArray[np.int64]
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs of nodes that touch across a border of two blocks, each pair once per border."""
    faces = []
    for axis in range(3):
        for border in range(core[axis], shape[axis], core[axis]):
            sides = []
            for position in (border - 1, border):
                start, extent = [0, 0, 0], list(shape)
                start[axis], extent[axis] = position, 1
                box = Box((start[0], start[1], start[2]), (extent[0], extent[1], extent[2]))
                used = nodes[box.slices].ravel() > 0
                sides.append((used, _joined_numbers(nodes, box, shape, core, offsets).ravel()))
            both = sides[0][0] & sides[1][0]
            pairs = np.unique(np.stack([sides[0][1][both], sides[1][1][both]]), axis=1)
            faces.append((pairs[0], pairs[1]))
    return faces
