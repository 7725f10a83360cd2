"""From the features of slices to those of patches: their mean, or mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alcore.errors import PermanentError

POOLINGS = ("mean", "mean_std")
"""mean: what the slices of a patch look like on average. mean_std: and, in as many dimensions again, how much they differ."""


def check(pooling: str) -> None:
    """Raise PermanentError for a name that is none of `POOLINGS`."""
    if pooling not in POOLINGS:
        raise PermanentError(f"encoder pooling {pooling!r} does not exist; choose one of {', '.join(POOLINGS)}")


class SliceMoments:
    """Mean and standard deviation over the slices of each of n patches, summed up as slices come, in float64."""

    def __init__(self, n: int, dim: int, pooling: str) -> None:
        self._count = np.zeros(n, np.int64)
        self._sum = np.zeros((n, dim))
        self._squares = np.zeros((n, dim)) if pooling == "mean_std" else None

    def add(self, rows: Sequence[int] | NDArray[np.intp], features: NDArray[np.floating[Any]]) -> None:
        """Features (k, dim) of slices of these patches; a patch may come several times."""
        self._count += np.bincount(rows, minlength=len(self._count))
        np.add.at(self._sum, rows, features)
        if self._squares is not None:
            np.add.at(self._squares, rows, np.asarray(features, np.float64) ** 2)

    def several(self) -> NDArray[np.intp]:
        """Patches of more than one slice: only they have a spread."""
        return np.flatnonzero(self._count > 1)

    def mean(self) -> NDArray[np.float64]:
        """(n, dim); every patch must have had a slice."""
        result: NDArray[np.float64] = self._sum / self._count[:, None]
        return result

    def spread(self) -> NDArray[np.float64]:
        """(n, dim) standard deviations, 0 for a single slice. Only with pooling "mean_std"."""
        assert self._squares is not None
        variance = self._squares / self._count[:, None] - self.mean() ** 2
        return np.sqrt(np.maximum(variance, 0.0))

    def pooled(self, usual_spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, dim), or (n, 2 dim) with a spread. A single slice says nothing about it and gets the usual one (dim,)."""
        if self._squares is None:
            return self.mean()
        spread = np.broadcast_to(usual_spread, self._sum.shape).copy()
        several = self.several()
        spread[several] = self.spread()[several]
        return np.concatenate([self.mean(), spread], axis=1)
