"""Pictures for the report: slices with outlines, thumbnails in one sheet, and how they go into a page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import AlcoreError
from alcore.types import Box
from alcore.volumes.patch_image import PAGE, PatchImage
from alcore.volumes.picture import stretched

Rgb = npt.NDArray[np.uint8]
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "pseudo-label": (255, 176, 0),
    "prediction": (86, 200, 255),
    "label": (120, 230, 90),
}
"""Outlines of each map; a panel never has two, and its title names it: the colour is not what tells them apart."""
QUALITY = 82


def outlined(
    plane: npt.NDArray[np.generic], ids: npt.NDArray[Any] | None, colour: tuple[int, int, int], px: int
) -> Rgb:
    """A slice (Y, X) with instances (Y, X) outlined, as (Y, X, 3): small ones enlarged by a whole number to at least px / 2 before
    outlines are drawn, large ones shrunk to at most `px` after."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    factor = max(1, -(-px // (2 * max(plane.shape))))
    grey = np.kron(stretched(plane), np.ones((factor, factor), np.uint8))
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if ids is not None:
        large = np.repeat(np.repeat(ids, factor, axis=0), factor, axis=1)
        picture[find_boundaries(large, mode="inner", connectivity=2)] = colour
    image = Image.fromarray(picture)
    image.thumbnail((px, px), Image.Resampling.LANCZOS)
    return np.asarray(image)


def thumbnail(plane: npt.NDArray[np.generic], px: int) -> npt.NDArray[np.uint8]:
    """A slice (Y, X) as (px, px) grey, fitted into it, what is left of the square black."""
    from PIL import Image

    image = Image.fromarray(stretched(plane))
    scale = px / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = np.asarray(image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST))
    found = np.zeros((px, px), np.uint8)
    found[: small.shape[0], : small.shape[1]] = small
    return found


def middle_slice(path: Path, box: Box, read: Mapping[str, Any] | None = None) -> npt.NDArray[np.generic]:
    """The middle slice (Y, X) of a box in an image or an acquisition, of its first channel.

    Raises AlcoreError or OSError for what cannot be read.
    """
    from alcore.volumes import open_volume

    z = box.start[0] + box.shape[0] // 2
    with open_volume(path, read or {}) as reader:
        found: npt.NDArray[np.generic] = reader.read(Box((z, *box.start[1:]), (1, *box.shape[1:])))[0, 0]
    return found


def sheet(thumbs: Sequence[npt.NDArray[np.uint8]], px: int) -> tuple[bytes, int]:
    """A JPEG with all thumbnails (px, px) in rows, and how many are in a row."""
    columns = max(1, int(np.ceil(np.sqrt(len(thumbs)))))
    rows = max(1, -(-len(thumbs) // columns))
    found = np.zeros((rows * px, columns * px), np.uint8)
    for i, one in enumerate(thumbs):
        y, x = (i // columns) * px, (i % columns) * px
        found[y : y + px, x : x + px] = one
    return jpeg(found), columns


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """Grey (Y, X) or coloured (Y, X, 3), with the colours of thin lines kept."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY, optimize=True, subsampling=0)
    return out.getvalue()


def suggested(folder: Path, px: int) -> Rgb | None:
    """The middle slice of the patch of a suggestion's folder, with its pseudo-label outlined; None where it cannot be read."""
    from alcore.volumes.labels import read_labels

    try:
        about = json.loads((folder / PAGE).read_text())
        kept = PatchImage.of(folder, tuple(about["box"]["shape"]))
        plane, ids = middle_slice(kept.path, kept.inside), None
        if (folder / "pseudo_label.tif").is_file():
            ids = read_labels(folder / "pseudo_label.tif")[0][kept.inside.slices][kept.inside.shape[0] // 2]
    except (*READ_ERRORS, KeyError, TypeError):
        return None
    return outlined(plane, ids, COLOURS["pseudo-label"], px)


def shrunk(path: Path, px: int) -> Rgb | None:
    """A PNG as (Y, X, 3) of at most `px`, or None where it is not there or cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = image.convert("RGB")
    except (OSError, ValueError):
        return None
    found.thumbnail((px, px), Image.Resampling.LANCZOS)
    return np.asarray(found)


def inline(data: bytes, kind: str = "image/jpeg") -> str:
    """A data: URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


READ_ERRORS = (AlcoreError, OSError, ValueError)
"""What a file that is not readable now raises; the report does without its picture."""
