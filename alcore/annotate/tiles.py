"""How an image that is wider than Segment Anything sees is cut into tiles, as micro_sam cuts it."""

from __future__ import annotations

EDGE = 1024
"""Pixels along the longer side that Segment Anything's encoder looks at; more are shrunk to so many."""
TILE, HALO = 768, 128
"""A tile with what is seen around it is EDGE wide: nothing is shrunk, and an object at the edge of a tile is seen whole in it."""

Tile = tuple[slice, slice]


def tiles_of(height: int, width: int) -> list[Tile]:
    """(rows, columns) of every tile with its halo, row by row; none where the image is seen as it is.

    In the order and with the bounds of micro_sam's `Blocking((0, 0), shape, TILE).get_block_with_halo(number, HALO)`.
    """
    if max(height, width) <= EDGE:
        return []
    rows, columns = (
        [slice(max(0, a - HALO), min(n, a + TILE + HALO)) for a in range(0, n, TILE)] for n in (height, width)
    )
    return [(r, c) for r in rows for c in columns]
