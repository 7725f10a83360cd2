"""From pooled features to unit vectors that compare content: standardised, and blind to noise and gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import nuisance
from alcore.errors import PermanentError

STD_FLOOR = 1e-2
"""A dimension that varies less than this share of the typical one carries rounding noise; it is not blown up further."""

NUISANCE_DIRECTIONS = 2
"""One for gain and one for noise. More do not help: recall is 1 already (SBEM, patches of 30 x 128 x 128)."""


@dataclass(frozen=True)
class Standardisation:
    """Statistics of pooled features over the training slices; part of the encoder.

    mean, std (dim,) float64: each dimension is standardised, because the few MAE dimensions of high variance otherwise
    decide every nearest neighbour (Przewiezlikowski et al. on masked-autoencoder features).
    nuisance (k, dim) float64, orthonormal rows: the directions along which mild gain and noise move a standardised
    feature. They are projected out (nuisance attribute projection, Solomonoff et al. 2005), else a drift in brightness
    looks like new content.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    nuisance: NDArray[np.float64]

    @classmethod
    def measured(
        cls,
        features: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        images: NDArray[np.float32],
        rng: np.random.Generator,
    ) -> Standardisation:
        """From training images (N, C, H, W), through `features` to (N, dim)."""
        clean = features(images).astype(np.float64)
        mean, std = clean.mean(axis=0), clean.std(axis=0)
        std = np.maximum(std, max(STD_FLOOR * float(np.sqrt((std**2).mean())), 1e-9))
        gained = features(images * nuisance.gain(images, rng))  # one changed copy of the images at a time
        noisy = features(images + nuisance.noise(images, rng))
        moves = np.concatenate([(changed - clean) / std for changed in (gained, noisy)])
        directions = np.linalg.svd(moves, full_matrices=False)[2]
        return cls(mean, std, directions[:NUISANCE_DIRECTIONS])

    def unit(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Rows of length 1, (N, dim) float32. Raises PermanentError for a row without a direction."""
        z = (np.asarray(features, np.float64) - self.mean) / self.std
        z -= z @ self.nuisance.T @ self.nuisance
        length = np.linalg.norm(z, axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
        if bad.size:
            raise PermanentError(
                f"row {bad[0]} of the embedding has length {length[bad[0], 0]}: the encoder is unusable"
            )
        return (z / length).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "nuisance": self.nuisance.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Standardisation:
        """Inverse of `to_json`."""
        return cls(*(np.asarray(value[name], np.float64) for name in ("mean", "std", "nuisance")))
