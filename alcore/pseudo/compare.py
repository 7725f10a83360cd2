"""Several backends on the patches that experts have labelled: is what they make worth learning from?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.matching import Counts, count
from alcore.errors import PermanentError
from alcore.nnunet.sources import label_ignored, label_image, label_mask
from alcore.pseudo import backend
from alcore.stage import Context
from alcore.types import Box, Scores, VolumeInfo, VoxelSize
from alcore.volumes import VolumeReader

Labels = npt.NDArray[np.uint32]
GAP_PX = 4
"""White between the parts of a picture."""


@dataclass(frozen=True)
class Candidate:
    """A backend to compare, by a name for people. model: the model directory of backend nnunet."""

    name: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None


@dataclass(frozen=True)
class Compared:
    """How one candidate did. scores: pooled over all patches, at IoU 0.5. error: why it could not run, or ""."""

    name: str
    scores: Scores | None
    n_patches: int
    seconds: float
    error: str = ""


class _Patch(VolumeReader):
    """A labelled patch as a volume of its own."""

    def __init__(self, path: Path, image: npt.NDArray[np.generic], voxel_um: VoxelSize | None) -> None:
        c, z, y, x = image.shape
        self.path, self.shape, self.dtype, self.voxel_um = path, (c, z, y, x), image.dtype, voxel_um
        self._image = image

    def _read(self, box: Box) -> npt.NDArray[np.generic]:
        return self._image[(slice(None), *box.slices)].copy()

    def close(self) -> None:
        """Nothing to release."""


def compare(
    labels: Sequence[Path], candidates: Sequence[Candidate], ctx: Context, picture: Path | None = None
) -> list[Compared]:
    """Run every candidate on the image of every label artifact and score it against the expert's instances.

    A patch shows less of the sample than the volume that it was cut from, so a backend that infers sizes from what it sees
    may do better on the volume. picture: where to draw the patch with most objects, by the expert and by each candidate.
    A candidate that cannot run is told with its reason. Raises PermanentError when there are no labels.
    """
    if not labels:
        raise PermanentError("there is no accepted label to compare with yet: label a few patches first")
    truths = [label_mask(path) for path in labels]
    shown = int(np.argmax([len(np.unique(t)) for t in truths]))
    drawn: list[Labels] = [truths[shown]]
    results = []
    for n, candidate in enumerate(candidates):
        counts, began, error = Counts(), time.monotonic(), ""
        for k, (path, truth) in enumerate(zip(labels, truths, strict=True)):
            ctx.progress((n + k / len(labels)) / len(candidates), f"{candidate.name}: patch {k + 1} of {len(labels)}")
            try:
                found = _labelled(path, candidate, ctx)
            except PermanentError as e:
                error = str(e)
                break
            counts += count(found, truth, ignore=label_ignored(path))
            if k == shown:
                drawn.append(found)
        done = None if error else counts.scores()
        results.append(Compared(candidate.name, done, len(labels), round(time.monotonic() - began, 3), error))
        if error and len(drawn) < n + 2:
            drawn.append(np.zeros_like(truths[shown]))
    if picture is not None:
        slices = [len(np.unique(plane)) for plane in drawn[0]]
        draw(picture, label_image(labels[shown])[0], drawn, int(np.argmax(slices)))
    return results


def _labelled(label: Path, candidate: Candidate, ctx: Context) -> Labels:
    image, stats, voxel_um = label_image(label)
    about = json.loads((label / "label.json").read_text())
    c, z, y, x = image.shape
    source = "unknown" if voxel_um is None else "file"
    key = f"{about['volume_sha256']} {about['box']}"
    info = VolumeInfo(key, (c, z, y, x), str(image.dtype), voxel_um, source, stats)
    out = np.zeros((z, y, x), np.uint32)
    backend(candidate.backend, candidate.options, candidate.model).label(
        _Patch(label / "image.tif", image, voxel_um), info, out, ctx
    )
    return out


def draw(path: Path, image: npt.NDArray[np.generic], instances: Sequence[Labels], z: int) -> None:
    """PNG: slice z of an image (C, Z, Y, X), once with the outlines of each of `instances` (Z, Y, X), side by side."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    from alcore.volumes.picture import OUTLINE, stretched

    grey = stretched(image[0, z])
    parts: list[npt.NDArray[np.uint8]] = []
    for labels in instances:
        part = np.repeat(grey[:, :, None], 3, axis=2)
        part[find_boundaries(labels[z], mode="inner", connectivity=2)] = OUTLINE
        parts += [part, np.full((len(grey), GAP_PX, 3), 255, np.uint8)]
    Image.fromarray(np.concatenate(parts[:-1], axis=1)).save(path)
