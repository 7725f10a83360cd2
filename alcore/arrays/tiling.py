"""Cut a volume into patches: non-overlapping, covering, and as equal as integers allow."""

from __future__ import annotations

from itertools import pairwise

from alcore.types import Box


def tile(shape_zyx: tuple[int, int, int], patch_px: tuple[int, int, int]) -> list[Box]:
    """Boxes of about `patch_px` (z, y, x) voxels that cover `shape_zyx` exactly once, in raster order (x fastest).

    Along each axis of length L the number of tiles is L / p rounded to the nearest whole number (halves up), at least
    one, and their lengths differ by at most one voxel: no thin remainder, which would embed badly and waste an
    annotation. A tile is therefore between 2/3 and 3/2 of the wanted length, except where the axis itself is shorter.
    Raises ValueError for lengths below one.
    """
    if len(shape_zyx) != 3 or len(patch_px) != 3 or min(*shape_zyx, *patch_px) < 1:
        raise ValueError(f"shape and patch must be three positive lengths (z, y, x), got {shape_zyx} and {patch_px}")
    z_spans, y_spans, x_spans = (_spans(length, wanted) for length, wanted in zip(shape_zyx, patch_px, strict=True))
    return [Box((z, y, x), (d, h, w)) for z, d in z_spans for y, h in y_spans for x, w in x_spans]


def _spans(length: int, wanted: int) -> list[tuple[int, int]]:
    """(start, length) of the tiles along one axis."""
    n = max(1, (2 * length + wanted) // (2 * wanted))
    edges = [i * length // n for i in range(n + 1)]
    return [(a, b - a) for a, b in pairwise(edges)]
