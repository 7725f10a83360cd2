"""The arrays of one suggestion as they are put before a person and before Segment Anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.types import Box

CHANNEL = 0
"""Segment Anything and the pseudo-label look at this channel; the others are shown beside it."""
CLIP_PERCENT = 0.1
"""Darkest and brightest share of a patch that is clipped: micro_sam stretches every slice between its extremes, so that one
hot pixel would leave it a black picture."""
SAMPLE = 4_000_000
"""Percentiles of a large patch are taken of about so many voxels, evenly spread over every slice."""
PICTURE_VERSION = 1
"""Raised when `picture` changes: embeddings of older pictures are not taken for those of new ones."""


@dataclass(frozen=True)
class Patch:
    """image: (C, Z, Y, X) with its margin, native dtype. pseudo: (Z, Y, X) uint32, 0 in the margin. inside: the patch itself,
    slices of (Z, Y, X); only there a label counts. about: suggestion.json."""

    image: npt.NDArray[np.generic]
    pseudo: npt.NDArray[np.uint32]
    inside: tuple[slice, slice, slice]
    about: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) with the margin."""
        _, z, y, x = self.image.shape
        return z, y, x

    @property
    def margin(self) -> npt.NDArray[np.bool_]:
        """(Z, Y, X): True where nothing that is drawn counts."""
        outside = np.ones(self.shape, bool)
        outside[self.inside] = False
        return outside


def read_patch(folder: Path) -> Patch:
    """The suggestion in a folder of the queue. Raises PermanentError naming what is missing or does not fit."""
    from alcore.volumes import open_volume
    from alcore.volumes.labels import read_labels

    try:
        about = json.loads((folder / "suggestion.json").read_text())
    except (OSError, ValueError) as e:
        raise PermanentError(f"{folder}: is no suggestion's folder (suggestion.json: {e})") from e
    with open_volume(folder / "image.tif") as reader:
        _, depth, height, width = reader.shape
        image = reader.read(Box((0, 0, 0), (depth, height, width)))
    shape = image.shape[1:]
    pseudo = np.zeros(shape, np.uint32)
    if (folder / "pseudo_label.tif").is_file():
        found, _ = read_labels(folder / "pseudo_label.tif")
        if found.shape != shape:
            raise PermanentError(f"{folder}/pseudo_label.tif: shape {found.shape}, but image.tif has {shape}")
        pseudo = found.astype(np.uint32)
    return Patch(image, pseudo, _inside(about, shape, folder), about)


def _inside(about: dict[str, Any], shape: tuple[int, ...], folder: Path) -> tuple[slice, slice, slice]:
    """Where the patch lies in its image. Suggestions that were made before there were margins fill it."""
    margin = about.get("margin") or {"before": (0, 0, 0), "after": (0, 0, 0)}
    z, y, x = (slice(int(b), n - int(a)) for b, a, n in zip(margin["before"], margin["after"], shape, strict=True))
    if (found := tuple(s.stop - s.start for s in (z, y, x))) != tuple(about["box"]["shape"]):
        raise PermanentError(f"{folder}: a patch of {about['box']['shape']} voxels cannot be {found} of image.tif")
    return z, y, x


def limits(stack: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Darkest and brightest intensity of a channel (Z, Y, X) that is told apart."""
    step = max(1, round((stack.size / SAMPLE) ** 0.5))
    low, high = np.percentile(stack[:, ::step, ::step].astype(np.float64), (CLIP_PERCENT, 100 - CLIP_PERCENT))
    return float(low), float(high)


def picture(image: npt.NDArray[np.generic], seen: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """What Segment Anything looks at: (Z, Y, X) uint8 of an image (C, Z, Y, X), clipped and stretched over the whole patch.
    seen: `limits` of the channel where they are known."""
    stack = image[CHANNEL]
    low, high = seen or limits(stack)

    def stretched(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        scaled = (np.clip(values, low, high).astype(np.float64) - low) * (255.0 / max(high - low, 1e-12))
        return np.asarray(np.round(scaled), np.uint8)

    if stack.dtype not in (np.uint8, np.uint16):
        return stretched(stack)
    return stretched(np.arange(np.iinfo(stack.dtype).max + 1).astype(stack.dtype))[stack]  # of each value once


def changed_voxels(labels: npt.NDArray[np.generic], patch: Patch) -> int:
    """Voxels of the patch proper that are another object, or none, than in the pseudo-label."""
    return int(np.count_nonzero(labels[patch.inside] != patch.pseudo[patch.inside]))


def counting(labels: npt.NDArray[np.generic], patch: Patch) -> npt.NDArray[np.uint32]:
    """A label (Z, Y, X) as it is handed in: nothing in the margin."""
    kept = np.zeros(patch.shape, np.uint32)
    kept[patch.inside] = labels[patch.inside]
    return kept
