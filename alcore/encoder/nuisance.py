"""Mild changes of an image that must not change what it is: detector noise, gain and mirroring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

NOISE_STD = 0.1
"""Standard deviation of the Gaussian noise, in units of the volume's standard deviation."""

GAIN_RANGE = (0.9, 1.1)
"""Range of the factor on the normalised intensities, one per image."""


def noise(images: Images, rng: np.random.Generator) -> Images:
    """Gaussian noise of the shape of `images`, to be added."""
    return rng.normal(0.0, NOISE_STD, images.shape).astype(np.float32)


def gain(images: Images, rng: np.random.Generator) -> Images:
    """One factor per image, (N, 1, 1, 1)."""
    return rng.uniform(*GAIN_RANGE, (len(images), 1, 1, 1)).astype(np.float32)


def mirrored(images: Images, rng: np.random.Generator) -> Images:
    """Each image (N, C, H, W) mirrored along y, x or both."""
    kinds = rng.integers(1, 4, size=len(images))
    return np.stack([i[:, :: -1 if k & 1 else 1, :: -1 if k & 2 else 1] for i, k in zip(images, kinds, strict=True)])
