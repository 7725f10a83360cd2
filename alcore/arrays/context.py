"""The context around a patch: how far an image reaches beyond the box that is asked about."""

from __future__ import annotations

from alcore.types import Box


def grown(box: Box, margin_px: tuple[int, int, int], shape_zyx: tuple[int, int, int]) -> tuple[Box, Box]:
    """The box with `margin_px` (z, y, x) voxels more on every side, cut at the volume's edges, and the box's place in it."""
    start = [max(0, a - m) for a, m in zip(box.start, margin_px, strict=True)]
    stop = [min(n, b + m) for b, m, n in zip(box.stop, margin_px, shape_zyx, strict=True)]
    z, y, x = (a - b for a, b in zip(box.start, start, strict=True))
    d, h, w = (b - a for a, b in zip(start, stop, strict=True))
    return Box((start[0], start[1], start[2]), (d, h, w)), Box((z, y, x), box.shape)
