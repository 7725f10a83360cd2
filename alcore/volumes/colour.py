"""Colour images as intensities, by a declared rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.volumes.port import Array, ReadOptions

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


def colour_rule(path: Path, options: ReadOptions) -> tuple[str, tuple[str, ...]]:
    """(the rule for a colour image: "luminance" or "channels", notes). Raises UnreadableVolumeError when it is "refuse"."""
    if options.rgb == "refuse":
        raise UnreadableVolumeError(
            f'{path}: a colour image, and rgb = "refuse" for its watched folder; save it as grey values, '
            'or set rgb = "luminance" or "channels"'
        )
    notes = ("a colour image: its luminance (Rec. 709) is used",) if options.rgb == "luminance" else ()
    return options.rgb, notes


def alpha_note(n: int) -> tuple[str, ...]:
    """What is said of `n` samples of transparency per pixel."""
    return (f"{n} more samples per pixel (transparency) are left out",) if n else ()
