"""Small pictures for people: contrast-stretched slices, with the outlines of instances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
OUTLINE = (255, 214, 0)
FRAME = (0, 190, 255)


def stretched(plane: npt.NDArray[np.generic]) -> Grey:
    """(Y, X) of any real dtype as 8-bit grey, its 0.5 and 99.5 percentiles at black and white."""
    values = np.nan_to_num(plane.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return np.asarray(np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255), np.uint8)


def write_thumbnail(path: Path, plane: npt.NDArray[np.generic], longest_px: int = 256) -> None:
    """PNG of one slice (Y, X), shrunk to at most `longest_px`."""
    from PIL import Image

    step = max(1, max(plane.shape) // (4 * longest_px))  # a huge slice needs no full-size float copy
    image = Image.fromarray(stretched(plane[::step, ::step]))
    image.thumbnail((longest_px, longest_px), Image.Resampling.BOX)
    image.save(path)


def write_preview(
    path: Path,
    plane: npt.NDArray[np.generic],
    instances: npt.NDArray[np.generic] | None,
    frame: tuple[slice, slice] | None = None,
    longest_px: int = 512,
) -> None:
    """PNG of one slice (Y, X) with instances (Y, X) outlined, enlarged by a whole number to at least `longest_px`.

    Outlines are drawn after enlarging, inside their instance, so they hide little and neighbours stay apart. frame: rows and
    columns of the patch where the slice shows more than that; a line is drawn around it, on the voxels outside.
    """
    from PIL import Image
    from skimage.segmentation import find_boundaries

    factor = max(1, -(-longest_px // max(plane.shape)))
    grey = np.kron(stretched(plane), np.ones((factor, factor), np.uint8))
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if instances is not None:
        large = np.repeat(np.repeat(instances, factor, axis=0), factor, axis=1)
        picture[find_boundaries(large, mode="inner", connectivity=2)] = OUTLINE
    if frame is not None:
        inside = np.zeros(plane.shape, bool)
        inside[frame] = True
        large = np.repeat(np.repeat(inside, factor, axis=0), factor, axis=1)
        picture[find_boundaries(large, mode="outer", connectivity=2) & ~large] = FRAME
    Image.fromarray(picture).save(path)
