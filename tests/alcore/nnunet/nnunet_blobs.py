"""A small learnable volume: bright ellipsoids on noise, with everything the training room needs around it."""

from __future__ import annotations

import numpy as np

from alcore.nnunet.case import Arrays, Case
from alcore.nnunet.schedule import Schedule

SPACING = (0.04, 0.01, 0.01)
QUICK = Schedule(epochs=2, iterations=3, lr=1e-3, validation_iterations=1, checkpoint_s=0.0)


def blobs(seed: int, shape: tuple[int, int, int] = (8, 64, 64), n: int = 6) -> Arrays:
    """Normalised image (1, Z, Y, X) and instances (Z, Y, X)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint32)
    for i in range(n):
        c = [rng.uniform(0.15, 0.85) * s for s in shape]
        inside = ((z - c[0]) / 3) ** 2 + ((y - c[1]) / 7) ** 2 + ((x - c[2]) / 7) ** 2 < 1
        labels[inside & (labels == 0)] = i + 1
    image = 2.0 * (labels > 0) + rng.normal(0, 0.4, shape) - 0.3
    return image[None].astype(np.float32), labels


def case(seed: int, n: int = 6, shape: tuple[int, int, int] = (8, 64, 64)) -> Case:
    return Case(f"blobs {seed} {n} {shape}", SPACING, lambda: blobs(seed, shape, n))
