"""The working grid of the threshold backend: averaged voxels about as long as a fraction of the objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import Zyx, core_shape, layout
from alcore.types import Box, VoxelSize
from alcore.volumes import VolumeReader

Float = npt.NDArray[np.float32]

VOXELS_PER_RADIUS = 2.5
"""The working voxel is at most this fraction of the object radius along each axis where the data allow it."""
SMOOTHING = 1 / 3
"""Standard deviation of the smoothing, in object radii: membranes and noise go, the object's outline stays."""
SURROUND = 6.0
"""Standard deviation of the window of background and contrast, in object radii."""
CELL = 2.0
"""Edge of the cells in which background and contrast are measured, in object radii."""
GLOBAL_SHARE = 0.5
"""Weight of the whole volume's contrast beside the local one, so that empty regions do not have their noise amplified."""
TRUNCATE = 3.0
"""Where Gaussians end, in standard deviations: a finite support makes blocks independent of each other."""


@dataclass(frozen=True)
class Grid:
    """Geometry for one object radius: factor = full voxels per working voxel (z, y, x); spacing of a working voxel.

    radius and spacing have the same unit (um, or in-plane voxels where the voxel size is unknown).
    """

    radius: float
    factor: Zyx
    spacing: VoxelSize
    shape: Zyx
    full_shape: Zyx

    @classmethod
    def of(cls, full_shape: Zyx, spacing: VoxelSize, radius: float) -> Grid:
        """The grid for objects of at least this inscribed radius in a volume of `full_shape` voxels (Z, Y, X)."""
        f = [min(n, max(1, int(radius / VOXELS_PER_RADIUS / s))) for n, s in zip(full_shape, spacing, strict=True)]
        return cls(
            radius=radius,
            factor=(f[0], f[1], f[2]),
            spacing=(f[0] * spacing[0], f[1] * spacing[1], f[2] * spacing[2]),
            shape=(-(-full_shape[0] // f[0]), -(-full_shape[1] // f[1]), -(-full_shape[2] // f[2])),
            full_shape=full_shape,
        )

    @property
    def cell(self) -> Zyx:
        """Edges (z, y, x) of a background cell, in working voxels."""
        z, y, x = (max(1, round(CELL * self.radius / s)) for s in self.spacing)
        return (z, y, x)

    @property
    def sigma(self) -> VoxelSize:
        """Smoothing (z, y, x) in working voxels."""
        z, y, x = (SMOOTHING * self.radius / s for s in self.spacing)
        return (z, y, x)

    @property
    def ball_volume(self) -> float:
        """Volume of the smallest object, a ball, in working voxels; a disc of the stack's thickness in thin stacks."""
        thickness = min(4 / 3 * self.radius, self.shape[0] * self.spacing[0])
        return float(np.pi * self.radius**2 * thickness / np.prod(self.spacing))

    def ball(self, radius: float) -> npt.NDArray[np.intp]:
        """Offsets (n, 3) in working voxels that lie within `radius` (in the unit of spacing) of the origin."""
        reach = [int(radius / s + 1e-6) for s in self.spacing]
        offsets = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in reach), indexing="ij"), -1).reshape(-1, 3)
        inside = ((offsets * self.spacing) ** 2).sum(1) <= radius**2 * (1 + 1e-6)
        return offsets[inside]

    @property
    def neighbourhood(self) -> npt.NDArray[np.intp]:
        """Offsets (n, 3) from a voxel to those it is compared with across an object's border: within half a radius.

        Where slices are further apart than that, only within the slice: the next one may show something else.
        """
        offsets = self.ball(max(self.radius / 2, min(self.spacing)))
        return offsets[np.abs(offsets).any(axis=1)]

    @property
    def halo(self) -> Zyx:
        """Working voxels around a block that decide about the voxels inside it: smoothing, opening, neighbours."""
        ball, near = np.abs(self.ball(self.radius)).max(0), np.abs(self.neighbourhood).max(0)
        z, y, x = (
            int(TRUNCATE * s + 0.5) + 2 * int(k) + int(n) for s, k, n in zip(self.sigma, ball, near, strict=True)
        )
        return (z, y, x)

    def full_box(self, box: Box) -> Box:
        """The voxels of the volume that a box of working voxels averages."""
        z, y, x = (a * f for a, f in zip(box.start, self.factor, strict=True))
        d, e, g = (min(b * f, n) for b, f, n in zip(box.stop, self.factor, self.full_shape, strict=True))
        return Box((z, y, x), (d - z, e - y, g - x))


def average(image: npt.NDArray[np.generic], factor: Zyx) -> Float:
    """Working voxels (Z, Y, X) float32 of an image (Z, Y, X): means over `factor`, the last ones over repeated edges.

    A working voxel with NaN or infinity in it is NaN.
    """
    missing = [-n % f for n, f in zip(image.shape, factor, strict=True)]
    if any(missing):
        image = np.pad(image, [(0, m) for m in missing], mode="edge")
    (z, y, x), (a, b, c) = image.shape, factor
    mean = image.reshape(z // a, a, y // b, b, x // c, c).mean(axis=(1, 3, 5), dtype=np.float64)
    mean[~np.isfinite(mean)] = np.nan
    return mean.astype(np.float32)


def averaged(volume: VolumeReader, channel: int, grid: Grid, box: Box, voxels: int) -> npt.NDArray[np.float32]:
    """Working voxels of a box, from at most about `voxels` voxels of the volume at a time."""
    out = np.empty(box.shape, np.float32)
    for part in layout(box.shape, core_shape(box.shape, max(1, voxels // math.prod(grid.factor)))):
        z, y, x = (a + b for a, b in zip(part.start, box.start, strict=True))
        image = volume.read_as_stored(grid.full_box(Box((z, y, x), part.shape)))
        out[part.slices] = average(image[channel], grid.factor)
    return out


def linear(values: Float, axis: int, position: npt.NDArray[np.float64]) -> Float:
    """Values at fractional positions along one axis, linear between entries and constant beyond the ends."""
    position = position.clip(0, values.shape[axis] - 1)
    below = np.minimum(position.astype(np.intp), max(values.shape[axis] - 2, 0))
    above = np.minimum(below + 1, values.shape[axis] - 1)
    weight = (position - below).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
    low = np.take(values, below, axis)
    return low + weight * (np.take(values, above, axis) - low)


def cell_sums(working: Float, cell: Zyx) -> dict[str, Float]:
    """Sums over cells, as `background.Background.of` takes them, of a block that starts at a cell's corner; NaN is left out."""
    finite = np.isfinite(working)
    values = np.where(finite, working, 0).astype(np.float64)
    sums = {"total": values, "squares": values * values, "count": finite.astype(np.float64)}
    for axis in range(3):
        edges = np.arange(0, working.shape[axis], cell[axis])
        sums = {name: np.add.reduceat(array, edges, axis=axis) for name, array in sums.items()}
    return {name: array.astype(np.float32) for name, array in sums.items()}
