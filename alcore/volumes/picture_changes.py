"""One slice with what two models made of it: the outlines of both, and of the truth where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.volumes.picture import OUTLINE, stretched

ONE, OTHER = (230, 70, 70), (70, 210, 90)
"""Colours of model a and model b; the truth has that of outlines elsewhere."""

Plane = npt.NDArray[np.generic]


def write_changes(path: Path, plane: Plane, a: Plane, b: Plane, truth: Plane | None, longest_px: int = 512) -> None:
    """PNG of a slice (Y, X), twice side by side: model a (red) on the left, model b (green) on the right, the truth in yellow
    below both; enlarged by a whole number to at least `longest_px`."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    factor = max(1, -(-longest_px // max(plane.shape)))

    def large(values: Plane) -> Plane:
        return np.repeat(np.repeat(values, factor, axis=0), factor, axis=1)

    grey = np.repeat(large(stretched(plane))[:, :, None], 3, axis=2)
    halves = []
    for ids, colour in ((a, ONE), (b, OTHER)):
        half = grey.copy()
        if truth is not None:
            half[find_boundaries(large(truth), mode="inner", connectivity=2)] = OUTLINE
        half[find_boundaries(large(ids), mode="inner", connectivity=2)] = colour
        halves.append(half)
    gap = np.full((grey.shape[0], max(2, factor), 3), 255, np.uint8)
    Image.fromarray(np.concatenate([halves[0], gap, halves[1]], axis=1)).save(path)
