"""A descriptor without weights: what filters at several scales answer, and how often. It is there before any encoder is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from alcore.encoder.resample import resample

Floats = NDArray[np.float32]

KIND = "descriptor"

VERSION = 1
"""Raised when the same image would be described by other numbers: they cannot be compared with older ones."""

LEVELS = 4
"""Octaves: the image, and three times half of it."""

SMALLEST_PX = 4
"""An octave with a shorter edge says nothing more, and is left out."""

SIGMA_PX = 1.0
"""Width of the Gaussian filters on every octave; local contrast and the structure tensor are averaged over twice that."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

GREYS = tuple(float(g) for g in np.linspace(-2.0, 2.0, 9))
"""Centres of the soft bins of the intensity histogram, in units of the volume's standard deviation."""

FILTERS = 7
"""Filter responses of an octave, each summarised by its quantiles; see `_responses`."""

BATCH = 16
"""Images described at a time: with more of them the filters leave the processor's cache."""


class Descriptor:
    """Features (N, dim) of images (N, C, H, W): for each channel and octave a soft histogram of intensities, and quantiles
    of the gradient, the Laplacian, the Hessian's and the structure tensor's eigenvalues, and the local contrast.

    Eigenvalues and magnitudes do not depend on orientation, quantiles not on place: the features of an image and of its
    mirror images are the same up to rounding. The filters are the customary ones of texture analysis (Lindeberg, 1998, for
    scales; Weickert, 1998, for the structure tensor); which of them to combine was chosen on labelled volumes (see
    benchmarks/RESULTS.md). Gain is not divided out here, where it would take contrast along; `Standardisation` projects
    out what gain does.
    """

    kind = KIND

    def __init__(self, channels: int, image_px: int) -> None:
        self.channels = channels
        self.image_px = image_px

    @property
    def dim(self) -> int:
        """Numbers per image."""
        edges = [-(-self.image_px // 2**level) for level in range(LEVELS)]
        levels = sum(edge >= SMALLEST_PX for edge in edges)
        return self.channels * levels * (len(GREYS) + FILTERS * len(QUANTILES))

    def __call__(self, images: Floats) -> Floats:
        """(N, dim) float32. Each image is described for itself."""
        parts = [_described(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return np.concatenate(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"channels": self.channels, "image_px": self.image_px, "version": VERSION}


def _described(images: Floats) -> Floats:
    """(N, dim) of a few images."""
    out = []
    for channel in range(images.shape[1]):
        octave = images[:, channel]
        for _ in range(LEVELS):
            if min(octave.shape[1:]) < SMALLEST_PX:
                break
            smooth = _gauss(octave)
            out.append(_histogram(smooth))
            out += [_quantiles(response) for response in _responses(octave)]
            octave = _halved(octave)
    return np.concatenate(out, axis=1).astype(np.float32)


def _gauss(images: Floats, y: int = 0, x: int = 0, sigma: float = SIGMA_PX) -> Floats:
    """Gaussian of (N, H, W), or its derivative of these orders along y and x, mirrored at the edges."""
    result: Floats = ndimage.gaussian_filter(
        images, (0, sigma, sigma), order=(0, y, x), mode="reflect", truncate=3.0
    ).astype(np.float32, copy=False)
    return result


def _responses(images: Floats) -> list[Floats]:
    """`FILTERS` maps (N, H, W): gradient magnitude, Laplacian, both eigenvalues of the Hessian and (roots of) the structure
    tensor's, standard deviation in the neighbourhood."""
    dy, dx = _gauss(images, y=1), _gauss(images, x=1)
    dyy, dxx, dyx = _gauss(images, y=2), _gauss(images, x=2), _gauss(images, 1, 1)
    middle, spread = (dxx + dyy) / 2, np.hypot((dxx - dyy) / 2, dyx)
    wide = 2 * SIGMA_PX
    jyy, jxx, jyx = (_gauss(p, sigma=wide) for p in (dy * dy, dx * dx, dy * dx))
    trace, difference = jyy + jxx, np.hypot(jxx - jyy, 2 * jyx)
    variance = _gauss(images * images, sigma=wide) - _gauss(images, sigma=wide) ** 2
    return [
        np.hypot(dy, dx),
        2 * middle,
        middle + spread,
        middle - spread,
        np.sqrt((trace + difference) / 2),
        np.sqrt(np.maximum(trace - difference, 0) / 2),
        np.sqrt(np.maximum(variance, 0)),
    ]


def _quantiles(maps: Floats) -> Floats:
    """(N, len(QUANTILES)): the values at these shares of the sorted pixels."""
    values = maps.reshape(len(maps), -1)
    ranks = [round(share * (values.shape[1] - 1)) for share in QUANTILES]
    return np.partition(values, ranks, axis=1)[:, ranks]


def _histogram(maps: Floats) -> Floats:
    """(N, len(GREYS)): share of pixels at each grey, a pixel between two of them shared out linearly.

    Beyond the last greys nothing is counted: the sum says how much lies within.
    """
    values, step = maps.reshape(len(maps), -1), GREYS[1] - GREYS[0]
    return np.stack([np.clip(1 - np.abs(values - grey) / step, 0, None).mean(axis=1) for grey in GREYS], axis=1)


def _halved(images: Floats) -> Floats:
    """(N, ceil(H / 2), ceil(W / 2)): area means, the same for mirror images whether the edge is even or odd."""
    height, width = images.shape[1:]
    return resample(images, -(-height // 2), -(-width // 2))
