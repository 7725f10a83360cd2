"""Unit vectors to select from: real EM features, a mixture, and uniform on the sphere. All (N, 384) float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

DIM = 384
WINDOW_CELLS = 16
"""A window is 64 x 64 pixels: cells are 4 x 4 pixels."""
COMPONENTS = 500


def uniform(n: int, rng: np.random.Generator) -> Float32:
    """Uniform on the sphere: no structure at all, the worst case for every bound."""
    return unit(rng.standard_normal((n, DIM), np.float32))


def mixture(n: int, rng: np.random.Generator) -> Float32:
    """A mixture of 500 isotropic Gaussians around points of the sphere, each as wide as the points are long."""
    centres = rng.standard_normal((COMPONENTS, DIM), np.float32)
    found = rng.standard_normal((n, DIM), np.float32)
    weights = rng.dirichlet(np.ones(COMPONENTS))
    member = rng.choice(COMPONENTS, n, p=weights)
    for begin in range(0, n, 1 << 16):
        found[begin : begin + (1 << 16)] += centres[member[begin : begin + (1 << 16)]]
    return unit(found)


def em(n: int, rng: np.random.Generator, image: Path) -> Float32:
    """Features of overlapping 64 x 64 windows of an EM stack (Z, Y, X), one every 4 pixels, n of them at random.

    Mean and standard deviation, over the window, of the 192 channels of a two-layer convolutional network with random weights;
    standardised over the windows. Real images and real overlap, no training: how nets of this kind see texture, not what an
    encoder of alscope has learnt.
    """
    import tifffile
    import torch
    from torch.nn import functional

    stack = tifffile.imread(image).astype(np.float32)
    stack = (stack - stack.mean()) / stack.std()
    generator = torch.Generator().manual_seed(0)
    first = torch.randn((32, 1, 7, 7), generator=generator) / 7
    second = torch.randn((DIM // 2, 32, 3, 3), generator=generator) / 17
    per_slice = (stack.shape[1] // 4 - WINDOW_CELLS + 1) * (stack.shape[2] // 4 - WINDOW_CELLS + 1)
    if n > per_slice * len(stack):
        raise ValueError(f"{image} has {per_slice * len(stack)} windows, {n} were asked for")
    chosen = np.sort(rng.choice(per_slice * len(stack), n, replace=False))
    cuts = np.searchsorted(chosen, per_slice * np.arange(len(stack) + 1))
    found = np.empty((n, DIM), np.float32)
    with torch.inference_mode():
        for z, plane in enumerate(torch.from_numpy(stack)):
            maps = functional.relu(functional.conv2d(plane[None, None], first, stride=2, padding=3))
            maps = functional.relu(functional.conv2d(maps, second, stride=2, padding=1))
            mean = functional.avg_pool2d(maps, WINDOW_CELLS, stride=1)
            spread = (functional.avg_pool2d(maps**2, WINDOW_CELLS, stride=1) - mean**2).clamp(min=0).sqrt()
            windows = torch.cat([mean, spread], dim=1)[0].reshape(DIM, -1).T.numpy()
            found[cuts[z] : cuts[z + 1]] = windows[chosen[cuts[z] : cuts[z + 1]] - z * per_slice]
    found -= found.mean(axis=0)
    found /= found.std(axis=0)
    return unit(found)


def unit(rows: Float32) -> Float32:
    """The rows at length one, in place."""
    for begin in range(0, len(rows), 1 << 16):
        part = rows[begin : begin + (1 << 16)]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows
