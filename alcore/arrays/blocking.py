"""Cut a grid that is too large for memory into blocks, with a halo around each where neighbours matter."""

from __future__ import annotations

import math
from itertools import product

from alcore.types import Box

Zyx = tuple[int, int, int]


def layout(shape: Zyx, core: Zyx) -> list[Box]:
    """Boxes of `core` voxels (the last along an axis may be smaller) that tile `shape`, in raster order."""
    starts = product(*(range(0, n, c) for n, c in zip(shape, core, strict=True)))
    return [
        Box((z, y, x), (min(core[0], shape[0] - z), min(core[1], shape[1] - y), min(core[2], shape[2] - x)))
        for z, y, x in starts
    ]


def core_shape(shape: Zyx, voxels: int, step: Zyx = (1, 1, 1), halo: Zyx = (0, 0, 0)) -> Zyx:
    """Extent of blocks for `shape`: halved along the longest axis until it has at most `voxels` voxels, or is one step.

    A multiple of `step` along each axis, also where that reaches beyond the shape. The voxels of a `halo` on each side
    count where the shape has room for them.
    """
    extent = [-(-n // s) * s for n, s in zip(shape, step, strict=True)]

    def outer() -> int:
        return math.prod(max(e, min(e + 2 * h, n)) for e, h, n in zip(extent, halo, shape, strict=True))

    while outer() > voxels and any(e > s for e, s in zip(extent, step, strict=True)):
        axis = max((k for k in range(3) if extent[k] > step[k]), key=lambda k: extent[k])
        extent[axis] = -(-extent[axis] // (2 * step[axis])) * step[axis]
    return (extent[0], extent[1], extent[2])


def with_halo(core: Box, halo: Zyx, shape: Zyx) -> tuple[Box, tuple[slice, slice, slice]]:
    """The box grown by `halo` on each side but not beyond `shape`, and where the core lies in it."""
    z, y, x = (max(0, a - h) for a, h in zip(core.start, halo, strict=True))
    d, e, f = (min(n, b + h) for b, h, n in zip(core.stop, halo, shape, strict=True))
    outer = Box((z, y, x), (d - z, e - y, f - x))
    return outer, Box((core.start[0] - z, core.start[1] - y, core.start[2] - x), core.shape).slices
