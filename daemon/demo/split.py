"""Cuts a labelled image into volumes for the pool and test volumes that lie apart from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.errors import AlscopeError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GRID = 3
"""The image is cut into 3 x 3 tiles; one in every row and column is held out."""


@dataclass(frozen=True)
class Piece:
    """One volume of the play: image (Z, Y, X) native dtype, labels (Z, Y, X) instances, voxel size (z, y, x) um or None."""

    name: str
    image: Array
    labels: Array
    voxel_um: tuple[float, float, float] | None


def split(
    image: Array, labels: Array, voxel_um: tuple[float, float, float] | None, gap_px: int
) -> tuple[list[Piece], list[Piece]]:
    """Six pool volumes and three test volumes: a Latin square of 3 x 3 tiles in Y and X, `gap_px` voxels apart.

    Every part of the image has a test tile near by, so the test asks about the tissue that the pool shows and not about
    another one; no voxel is in two volumes, and instances are cut where the tiles are. Raises AlscopeError when the image
    is too small or the labels have another shape.
    """
    z, y, x = image.shape
    if labels.shape != image.shape:
        raise AlscopeError(f"the labels have the shape {labels.shape}, the image {image.shape}; they must be equal")
    height, width = ((n - (GRID - 1) * gap_px) // GRID for n in (y, x))
    if min(height, width) < 32:
        least = GRID * 32 + (GRID - 1) * gap_px
        raise AlscopeError(f"an image of {z} x {y} x {x} voxels is too small for a demo; {least} in Y and X are needed")
    pool: list[Piece] = []
    tests: list[Piece] = []
    for row in range(GRID):
        for column in range(GRID):
            top, left = row * (height + gap_px), column * (width + gap_px)
            part = (slice(None), slice(top, top + height), slice(left, left + width))
            held_out = column == (2 - row) % GRID
            into, name = (tests, "test") if held_out else (pool, "volume")
            into.append(Piece(f"{name}_{len(into) + 1:02d}.tif", image[part], labels[part], voxel_um))
    return pool, tests


def synthetic(seed: int) -> tuple[list[Piece], list[Piece]]:
    """Six pool volumes and a test volume of an EM-like tissue, each of its own, 50 x 10 x 10 nm voxels."""
    import numpy as np

    from alcore.arrays.synthetic import em_volume

    voxel_um = (0.05, 0.01, 0.01)
    pieces = []
    for number in range(7):
        shape = (16, 192, 192) if number < 6 else (16, 256, 256)
        image, labels = em_volume(shape, voxel_um, np.random.default_rng([seed, number]))
        name = f"volume_{number + 1:02d}.tif" if number < 6 else "test_01.tif"
        pieces.append(Piece(name, image, labels, voxel_um))
    return pieces[:6], pieces[6:]
