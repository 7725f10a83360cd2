"""How the image of a patch looks, from its slices one at a time: sharpness, contrast, clipping, blank slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.types import IntensityStats

BLANK = 0.02
"""A slice whose standard deviation is below this share of the volume's has no contrast."""


@dataclass(frozen=True)
class ImageTraits:
    """sharpness: squared differences two pixels apart over the variance, independent of gain, offset and polarity (NaN for a
    constant patch). contrast: standard deviation within slices over that of the volume (NaN for a constant volume).
    clipped: share of voxels at the lowest or highest value of the volume. blank: share of slices without contrast."""

    sharpness: float
    contrast: float
    clipped: float
    blank: float


class ImageLook:
    """Collects the slices of one patch; every channel counts alike."""

    def __init__(self, stats: Sequence[IntensityStats]) -> None:
        self._stats = stats
        self._gradient = self._variance = self._relative = 0.0
        self._n_gradient = self._n_variance = self._n_relative = 0
        self._clipped = self._voxels = self._blank = self._slices = 0

    def add(self, plane: npt.NDArray[np.generic]) -> None:
        """Take one slice (C, y, x) of any real dtype, finite, into account."""
        blank = True
        for channel, s in zip(plane, self._stats, strict=True):
            values = channel.astype(np.float64)
            variance = float(values.var())
            self._variance += variance * values.size
            self._n_variance += values.size
            for axis in (0, 1):
                if values.shape[axis] > 2:
                    # Brenner et al. 1976
                    first, last = (slice(2, None), slice(None, -2)) if axis == 0 else (np.s_[:, 2:], np.s_[:, :-2])
                    steps = values[first] - values[last]
                    self._gradient += float(np.square(steps).sum())
                    self._n_gradient += steps.size
            if s.std > 0:
                self._relative += np.sqrt(variance) / s.std
                self._n_relative += 1
            blank &= np.sqrt(variance) <= BLANK * s.std
            if s.maximum > s.minimum:
                self._clipped += int(np.count_nonzero((values <= s.minimum) | (values >= s.maximum)))
            self._voxels += values.size
        self._blank += blank
        self._slices += 1

    def result(self) -> ImageTraits:
        """The traits of all slices together. Raises ValueError when there was none."""
        if not self._slices:
            raise ValueError("no slice was seen: a patch has at least one")
        variance = self._variance / self._n_variance
        steps = self._gradient / self._n_gradient if self._n_gradient else float("nan")
        return ImageTraits(
            sharpness=steps / variance if variance > 1e-12 else float("nan"),
            contrast=self._relative / self._n_relative if self._n_relative else float("nan"),
            clipped=self._clipped / self._voxels,
            blank=self._blank / self._slices,
        )
