"""From pooled features to unit vectors that compare content: standardised, and blind to noise and gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import nuisance

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
        mean, std = clean.mean(axis=0), _floored(clean.std(axis=0))
        gained = features(images * nuisance.gain(images, rng))  # one changed copy of the images at a time
        noisy = features(images + nuisance.noise(images, rng))
        moves = np.concatenate([(changed - clean) / std for changed in (gained, noisy)])
        directions = np.linalg.svd(moves, full_matrices=False)[2]
        return cls(mean, std, directions[:NUISANCE_DIRECTIONS])

    def with_spread(self, spreads: NDArray[np.float64]) -> Standardisation:
        """With as many dimensions again, for how much the slices of a patch differ: from such spreads (n, dim) of patches.

        Without any (all patches are single slices) they stay constant. Gain and noise are projected out of the mean alone.
        """
        dim = spreads.shape[1]
        mean, std = np.zeros(dim), np.ones(dim)
        if len(spreads):
            mean, std = spreads.mean(axis=0), _floored(spreads.std(axis=0))
        nothing = np.zeros((len(self.nuisance), dim))
        return Standardisation(
            np.concatenate([self.mean, mean]),
            np.concatenate([self.std, std]),
            np.concatenate([self.nuisance, nothing], axis=1),
        )

    @property
    def nowhere(self) -> NDArray[np.float32]:
        """The unit vector (dim,) of what has no direction of its own: the same in every coordinate."""
        dim = len(self.mean)
        return np.full(dim, dim**-0.5, np.float32)

    def has_direction(self, features: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """(N,): False for features that are not finite, or exactly those of the average slice."""
        length = np.linalg.norm(self._standardised(features), axis=1)
        result: NDArray[np.bool_] = np.isfinite(length) & (length > 0)
        return result

    def unit(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Rows of length 1, (N, dim) float32; `nowhere` for a row without a direction."""
        z = self._standardised(features)
        sound = self.has_direction(features)
        out = np.tile(self.nowhere, (len(z), 1))
        out[sound] = z[sound] / np.linalg.norm(z[sound], axis=1, keepdims=True)
        return out

    def _standardised(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        z = (np.asarray(features, np.float64) - self.mean) / self.std
        z -= z @ self.nuisance.T @ self.nuisance
        return z

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "nuisance": self.nuisance.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Standardisation:
        """Inverse of `to_json`."""
        return cls(*(np.asarray(value[name], np.float64) for name in ("mean", "std", "nuisance")))


def _floored(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations, none below the floor."""
    floor = max(STD_FLOOR * float(np.sqrt((std**2).mean())), 1e-9)
    result: NDArray[np.float64] = np.maximum(std, floor)
    return result
