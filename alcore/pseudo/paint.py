"""Paint the objects of a working grid at the volume's full resolution, with smooth outlines, block by block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from alcore.arrays.blocking import Zyx, layout, with_halo
from alcore.errors import Preempted
from alcore.pseudo.grid import Grid, linear
from alcore.pseudo.passes import Objects
from alcore.pseudo.port import LabelArray
from alcore.stage import Context
from alcore.types import Box

Labels = npt.NDArray[np.uint32]

BLOCK = (32, 256, 256)
"""Voxels painted at a time: whole chunks of the label store."""
GROWTH = 2.0
"""How far objects grow towards each other where they fill the volume, in object radii."""


def paint(
    objects: Objects, fill: bool, labels: LabelArray, ctx: Context, span: tuple[float, float]
) -> npt.NDArray[np.int64]:
    """Write ids 1..n into `labels` and return the number of voxels of each. Raises Preempted when asked to stop."""
    grid = objects.grid
    reach = GROWTH * grid.radius if fill else 0.0
    z, y, x = (int(np.ceil(reach / s)) + 2 for s in grid.spacing)
    sizes = np.zeros(len(objects.strength) + 1, np.int64)
    boxes = layout(grid.full_shape, BLOCK)
    for i, box in enumerate(boxes):
        if ctx.should_stop():
            raise Preempted(f"pseudo-labels: stopped after painting {i} of {len(boxes)} blocks")
        outer, _ = with_halo(_covering(box, grid.factor), (z, y, x), grid.shape)
        ids = objects.read(outer)
        if ids.any():
            painted = _at_full_resolution(grow(ids, grid, reach) if fill else ids, outer, box, grid)
            labels[box.slices] = painted
            found = np.bincount(painted.ravel())
            sizes[: len(found)] += found
        ctx.progress(span[0] + (span[1] - span[0]) * (i + 1) / len(boxes), f"writing: block {i + 1} of {len(boxes)}")
    return sizes[1:]


def grow(ids: Labels, grid: Grid, reach: float) -> Labels:
    """Every voxel within `reach` of an object gets the id of the nearest one."""
    distance, nearest = ndimage.distance_transform_edt(ids == 0, sampling=grid.spacing, return_indices=True)
    grown: Labels = np.where(distance <= reach, ids[tuple(nearest)], np.uint32(0))
    return grown


def _covering(box: Box, factor: Zyx) -> Box:
    """Working voxels that average any voxel of the box."""
    z, y, x = (a // f for a, f in zip(box.start, factor, strict=True))
    d, h, w = (-(-b // f) for b, f in zip(box.stop, factor, strict=True))
    return Box((z, y, x), (d - z, h - y, w - x))


def _at_full_resolution(ids: Labels, outer: Box, box: Box, grid: Grid) -> Labels:
    """Ids of a box of the volume from those of the working voxels around it (outer).

    Foreground where the linear interpolation of the working mask passes a half; its id is that of its working voxel or
    else the highest of the neighbouring ones.
    """
    spread = ids
    soft = (ids > 0).astype(np.float32)
    for axis, factor in enumerate(grid.factor):
        if factor > 1:
            position = (np.arange(box.start[axis], box.stop[axis]) + 0.5) / factor - 0.5 - outer.start[axis]
            soft = linear(soft, axis, position)
            spread = np.where(spread > 0, spread, ndimage.maximum_filter1d(spread, 3, axis=axis, mode="nearest"))
        else:
            soft = np.take(soft, np.arange(box.start[axis], box.stop[axis]) - outer.start[axis], axis)
    for axis, factor in enumerate(grid.factor):
        index = np.arange(box.start[axis], box.stop[axis]) // factor - outer.start[axis]
        spread = np.take(spread, index, axis)
    painted: Labels = np.where(soft >= 0.5, spread, np.uint32(0))
    return painted
