"""Cuts a labelled image into volumes for the pool and one test volume that lies apart from all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.errors import AlscopeError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TEST_SHARE = 0.3
"""Share of the width that is held out for scoring."""


@dataclass(frozen=True)
class Piece:
    """One volume of the play: image (Z, Y, X) native dtype, labels (Z, Y, X) instances, voxel size (z, y, x) um or None."""

    name: str
    image: Array
    labels: Array
    voxel_um: tuple[float, float, float] | None


def split(
    image: Array, labels: Array, voxel_um: tuple[float, float, float] | None, n_pool: int, gap_px: int
) -> tuple[list[Piece], Piece]:
    """Pool volumes from the left part of X, the test volume from the right, `gap_px` voxels apart.

    Instances are cut where the volumes are; no voxel is in two volumes. Raises AlscopeError when the image is too small.
    """
    z, y, x = image.shape
    if labels.shape != image.shape:
        raise AlscopeError(f"the labels have the shape {labels.shape}, the image {image.shape}; they must be equal")
    test_x = round(TEST_SHARE * x)
    pool_x = x - test_x - gap_px
    if pool_x < 32 * n_pool // 2 or test_x < 32:
        raise AlscopeError(f"an image of {z} x {y} x {x} voxels is too small for a demo; at least 160 in X are needed")
    columns = max(1, round((n_pool * pool_x / y) ** 0.5))
    rows = max(1, round(n_pool / columns))
    pool: list[Piece] = []
    for i in range(rows):
        for j in range(columns):
            part = (slice(None), _part(y, rows, i), _part(pool_x, columns, j))
            pool.append(Piece(f"volume_{len(pool) + 1:02d}.tif", image[part], labels[part], voxel_um))
    last = (slice(None), slice(None), slice(x - test_x, x))
    return pool, Piece("test.tif", image[last], labels[last], voxel_um)


def _part(length: int, n: int, i: int) -> slice:
    return slice(length * i // n, length * (i + 1) // n)


def synthetic(seed: int) -> tuple[list[Piece], Piece]:
    """Six pool volumes and a test volume of an EM-like tissue, each of its own, 50 x 10 x 10 nm voxels."""
    import numpy as np

    from alcore.arrays.synthetic import em_volume

    voxel_um = (0.05, 0.01, 0.01)
    pieces = []
    for number in range(7):
        shape = (16, 192, 192) if number < 6 else (16, 256, 256)
        image, labels = em_volume(shape, voxel_um, np.random.default_rng([seed, number]))
        name = f"volume_{number + 1:02d}.tif" if number < 6 else "test.tif"
        pieces.append(Piece(name, image, labels, voxel_um))
    return pieces[:6], pieces[6]
