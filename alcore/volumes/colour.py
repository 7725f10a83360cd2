"""Colour images as intensities, by a declared rule."""

from __future__ import annotations

import numpy as np

from alcore.volumes.port import Array

RGB_NAMES = ("R", "G", "B")
WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Luminance of R, G, B (ITU-R BT.709-6, section 3)."""


def luminance(rgb: Array) -> Array:
    """(3, ...) of any real dtype -> (...) of the same dtype, rounded to whole numbers where the dtype has only those."""
    grey = sum(np.float64(weight) * sample for weight, sample in zip(WEIGHTS, rgb, strict=True))
    if rgb.dtype.kind in "iu":
        info = np.iinfo(rgb.dtype.name)
        grey = np.clip(np.rint(grey), info.min, info.max)
    return np.asarray(grey, rgb.dtype)
