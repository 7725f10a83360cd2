"""Segmentations that go wrong in known ways, made from true instances: stand-ins for models of known quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from alcore.arrays.instancing import relabel_sequential

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

ALIKE = 0.85
"""Correlation of what two models find hard."""


@dataclass(frozen=True)
class Faults:
    """How a model errs. missed, merged: shares of objects; invented: objects that are not there, as a share of those that are.

    shrunk: px that outlines lie inside the true ones (negative: outside), on average; uneven: its spread from object to
    object. shift_px: of everything, along x.
    """

    missed: float = 0.0
    merged: float = 0.0
    invented: float = 0.0
    shrunk: float = 0.0
    uneven: float = 0.0
    shift_px: int = 0


class Truth:
    """True instances (Z, Y, X) and what never changes about them, so that a segmentation costs table look-ups only."""

    def __init__(self, labels: npt.NDArray[np.generic], rng: np.random.Generator) -> None:
        self.labels = relabel_sequential(labels)
        self.n = int(self.labels.max())
        self._inside = np.zeros(self.labels.shape, np.float32)
        self._outside = np.zeros(self.labels.shape, np.float32)
        self._nearest = self.labels.copy()
        for z, plane in enumerate(self.labels):
            edge = np.zeros(plane.shape, bool)
            for axis in (0, 1):
                differ = np.diff(plane.astype(np.int64), axis=axis) != 0
                low, high = ((slice(None),) * axis + (s,) for s in (slice(None, -1), slice(1, None)))
                edge[low] |= differ
                edge[high] |= differ
            self._inside[z] = ndimage.distance_transform_edt(~(edge & (plane > 0))) if edge.any() else 99
            if (plane > 0).any():
                self._outside[z], (rows, columns) = ndimage.distance_transform_edt(plane == 0, return_indices=True)
                self._nearest[z] = plane[rows, columns]
            else:
                self._outside[z] = np.inf
        self._partner = self._neighbours()
        self._spots = self._places(rng)
        self._hard = rng.normal(size=self.n + 1)
        self._tempting = rng.normal(size=int(self._spots.max()) + 1)

    def _neighbours(self) -> npt.NDArray[np.int64]:
        """For each object the one whose centre is nearest."""
        from scipy.spatial import cKDTree

        ids = np.arange(1, self.n + 1)
        centres = np.array(ndimage.center_of_mass(self.labels > 0, self.labels, ids)).reshape(-1, 3)
        partner = np.arange(self.n + 1)
        if self.n > 1:
            partner[1:] = cKDTree(centres).query(centres, k=2)[1][:, 1] + 1
        return partner

    def _places(self, rng: np.random.Generator) -> Ids:
        """As many ellipsoids in the background as there are objects, of their usual size: what a model may invent."""
        spots = np.zeros(self.labels.shape, np.uint32)
        radius = max(2.0, (np.count_nonzero(self.labels) / max(1, self.n) * 3 / (4 * np.pi)) ** (1 / 3))
        half = [max(1, min(round(radius), n // 2)) for n in self.labels.shape]
        for i in range(1, self.n + 1):
            centre = [int(rng.integers(0, n)) for n in self.labels.shape]
            low = [max(0, c - h) for c, h in zip(centre, half, strict=True)]
            high = [min(n, c + h + 1) for c, h, n in zip(centre, half, self.labels.shape, strict=True)]
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            grid = np.ogrid[box]
            ball = sum(((g - c) / (h + 0.5)) ** 2 for g, c, h in zip(grid, centre, half, strict=True)) < 1
            free = ball & (self.labels[box] == 0) & (spots[box] == 0)
            spots[box][free] = i
        return spots

    def segment(self, faults: Faults, rng: np.random.Generator) -> Ids:
        """Instances (Z, Y, X) as a model with these faults would find them. rng: what makes it differ from a model like it."""
        draws = {
            name: self._chance(self._hard, rng) for name in ("missed", "merged", "depth")
        }  # each 0..1, alike for all models, but not the same
        missed = draws["missed"] < faults.missed
        depth = faults.shrunk + faults.uneven * np.sqrt(12) * (draws["depth"] - 0.5)
        depth[missed] = np.inf
        ids = np.where(draws["merged"] < faults.merged, self._partner, np.arange(self.n + 1))
        ids = np.where(ids < np.arange(self.n + 1), ids, np.minimum(ids, ids[ids]))
        inside = (self.labels > 0) & (self._inside > depth[self.labels] - 0.5)
        grown = (self.labels == 0) & (self._outside < 0.5 - depth[self._nearest])
        found = np.where(inside | grown, ids[self._nearest], 0).astype(np.uint32)
        invented = self._chance(self._tempting, rng) < faults.invented
        invented[0] = False
        found = np.where((found == 0) & invented[self._spots], self._spots + np.uint32(self.n), found)
        return np.roll(found, faults.shift_px, axis=2) if faults.shift_px else found

    def _chance(self, shared: Floats, rng: np.random.Generator) -> Floats:
        from scipy.special import ndtr

        own = rng.normal(size=shared.shape)
        chance: Floats = ndtr(np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * own)
        return chance
