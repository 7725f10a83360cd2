"""Local mean and contrast of a working grid, on a coarse lattice of cells that need not fit into memory either."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from alcore.arrays.blocking import Zyx, core_shape, layout, with_halo
from alcore.pseudo.grid import GLOBAL_SHARE, SURROUND, TRUNCATE, Float, Grid, linear
from alcore.types import Box, VoxelSize

BYTES_PER_CELL = 120
"""Memory that smoothing takes per cell of a block."""
SHARP_STEPS = np.float32(2**16)
SUMMED_TOGETHER = 1 << 16
"""Cells that are added up at a time, whatever the blocks are: the sums of a volume must not depend on them."""


class Cells(Protocol):
    """One figure per cell (z, y, x), on disk or in memory, indexed by three slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along (z, y, x)."""

    def __getitem__(self, index: Any) -> Any:
        """The figures of a box of cells."""

    def __setitem__(self, index: Any, values: Any) -> None:
        """Store the figures of a box of cells."""


Store = Callable[[str, Zyx, npt.DTypeLike], Cells]
"""Makes room for figures of cells: (name, shape, dtype) -> cells."""


def in_memory(name: str, shape: Zyx, dtype: npt.DTypeLike) -> Cells:
    """A `Store` for lattices that fit into memory."""
    return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Background:
    """Local mean and contrast, the latter from the local variance and a floor: that of the whole volume holds it up."""

    mean: Cells
    variance: Cells
    floor: float
    cell: Zyx

    @classmethod
    def of(
        cls, grid: Grid, total: Cells, squares: Cells, count: Cells, store: Store = in_memory, cells: int = 1 << 22
    ) -> Background:
        """From sums over cells of the finite working voxels, of their squares and their number (one entry per cell).

        At most about `cells` of them are in memory at a time.
        """
        z, y, x = total.shape
        shape = (z, y, x)
        s = [SURROUND * grid.radius / (s * c) for s, c in zip(grid.spacing, grid.cell, strict=True)]
        sigma = (s[0], s[1], s[2])
        halo = (_reach(s[0]), _reach(s[1]), _reach(s[2]))
        n = _sum(count)
        whole_mean = _sum(total) / max(n, 1)
        mean, variance = store("mean", shape, np.float32), store("variance", shape, np.float64)
        for box in layout(shape, core_shape(shape, cells, halo=halo, step=_at_least(shape, halo))):
            outer, where = with_halo(box, halo, shape)
            m, v = _moments(total[outer.slices], squares[outer.slices], count[outer.slices], sigma, whole_mean)
            mean[box.slices], variance[box.slices] = m[where], v[where]
        floor = GLOBAL_SHARE**2 * _sum(variance, count) / max(n, 1)
        return cls(mean, variance, floor, grid.cell)

    def at(self, box: Box) -> tuple[Float, Float]:
        """Mean and contrast at the working voxels of a box, linear between the centres of the cells."""
        index, positions = [], []
        for axis, n in enumerate(self.mean.shape):
            position = (np.arange(box.start[axis], box.stop[axis]) + 0.5) / self.cell[axis] - 0.5
            position = position.clip(0, n - 1)
            low = min(int(position[0]), max(n - 2, 0))
            index.append(slice(low, min(int(position[-1]) + 2, n)))
            positions.append(position - low)
        cells = tuple(index)
        variance = np.asarray(self.variance[cells])
        contrast = np.maximum(np.sqrt((variance + self.floor) / (1 + GLOBAL_SHARE**2)), 1e-12).astype(np.float32)
        mean = np.asarray(self.mean[cells])
        for axis, position in enumerate(positions):
            mean, contrast = linear(mean, axis, position), linear(contrast, axis, position)
        return mean, contrast


def _reach(sigma: float) -> int:
    """Cells on each side that smoothing looks at."""
    return int(TRUNCATE * sigma + 0.5)


def _at_least(shape: Zyx, halo: Zyx) -> Zyx:
    """Smallest block: as long as its halo, or what would be read again would outgrow what is new."""
    z, y, x = (min(n, max(1, h)) for n, h in zip(shape, halo, strict=True))
    return (z, y, x)


def _moments(
    total: Float, squares: Float, count: Float, sigma: VoxelSize, whole_mean: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Smoothed mean and variance of cells; those that have nothing near get the mean of the volume."""

    def smooth(values: Float) -> npt.NDArray[np.float64]:
        smoothed: npt.NDArray[np.float64] = ndimage.gaussian_filter(
            values.astype(np.float64), sigma, mode="nearest", truncate=TRUNCATE
        )
        return smoothed

    weight = smooth(count)
    known = weight > 1e-6
    mean = np.where(known, smooth(total) / np.maximum(weight, 1e-6), whole_mean)
    variance = np.where(known, smooth(squares) / np.maximum(weight, 1e-6) - mean**2, 0).clip(min=0)
    return mean, variance


def _sum(values: Cells, weights: Cells | None = None) -> float:
    """Sum over all cells, times a weight of each if given, in an order that depends on the lattice alone."""
    depth, height, width = values.shape
    rows = max(1, SUMMED_TOGETHER // width)
    parts = []
    for z in range(depth):
        for y in range(0, height, rows):
            index = (slice(z, z + 1), slice(y, min(y + rows, height)), slice(0, width))
            part = np.asarray(values[index], np.float64)
            parts.append(float((part if weights is None else part * weights[index]).sum()))
    return math.fsum(parts)


def normalise(working: Float, background: Background, box: Box, sigma: VoxelSize) -> tuple[Float, Float]:
    """Working voxels of a box as (sharp, smoothed), both (value - local mean) / local contrast; NaN becomes local mean.

    The sharp ones come in steps of 2^-16: sums over a component are then exact, in whatever blocks it was found.
    """
    mean, contrast = background.at(box)
    filled = np.where(np.isnan(working), mean, working)
    smoothed = ndimage.gaussian_filter(filled, sigma, mode="nearest", truncate=TRUNCATE)
    sharp = np.rint((filled - mean) / contrast * SHARP_STEPS) / SHARP_STEPS
    return sharp, (smoothed - mean) / contrast
