"""A label as a self-contained training case: image, label, pseudo-label and what was looked at, of exactly one patch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.instancing import relabel_sequential
from alcore.arrays.label_checks import copied, coverage, shape_words, shapes
from alcore.arrays.placement import better_place
from alcore.types import Box, VolumeInfo
from alcore.volumes.writers import write_image_tiff, write_labels_tiff

Array = npt.NDArray[np.generic]
Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Case:
    """A label of the patch `box` of a volume. image: (C, Z, Y, X) as acquired; mask: (Z, Y, X) integer ids of any order, 0 =
    background; pseudo: ids 1..n or None; seen: (Z, Y, X) bool, None = all was looked at."""

    suggestion: str
    box: Box
    info: VolumeInfo
    image: Array
    mask: Ids
    pseudo: Ids | None
    seen: npt.NDArray[np.bool_] | None


def write_case(out: Path, case: Case, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """Write image.tif, label.tif (uint32, ids 1..n), pseudo.tif (if there is one), seen.tif (uint8, 1 = looked at; only when a
    part was not) and label.json; returns the stage's result.

    What was drawn where nobody looked is left out. remarks: what is to be asked besides what the checks find.
    """
    about = {"suggestion": case.suggestion, "volume_sha256": case.info.sha256, "origin": "human"}
    shape, voxel_um, seen = case.box.shape, case.info.voxel_um, case.seen
    mask = case.mask if seen is None else np.where(seen, case.mask, 0)
    labels = relabel_sequential(mask)
    names = np.unique(mask[mask > 0])
    found = shapes(labels)
    warnings = [*remarks, *shape_words(found, names), *_placed(case, labels)]
    if labels.all() if seen is None else labels[seen].all():
        warnings.append("no voxel is background: is the background saved as an object?")
    if seen is not None:
        hidden = np.setdiff1d(np.unique(case.mask[case.mask > 0]), names).size
        if hidden:
            warnings.append(f"{hidden} objects lie where nobody looked: they are left out")
    write_image_tiff(out / "image.tif", case.image, voxel_um, about)
    write_labels_tiff(out / "label.tif", labels, shape, "uint32", voxel_um, about)
    if case.pseudo is not None:
        pseudo = relabel_sequential(case.pseudo)
        write_labels_tiff(out / "pseudo.tif", pseudo, shape, "uint32", voxel_um, {**about, "origin": "pseudo"})
    if seen is not None:
        write_labels_tiff(out / "seen.tif", seen.astype(np.uint8), shape, "uint8", voxel_um, about)
    result = {
        "n_objects": int(labels.max()),
        "foreground_fraction": float((labels > 0).mean()),
        "seen_fraction": 1.0 if seen is None else float(seen.mean()),
        "n_cut": int(found.cut.sum()),
        "warnings": warnings,
    }
    page = {
        "suggestion": case.suggestion,
        "box": case.box.to_json(),
        "volume_sha256": case.info.sha256,
        "voxel_um": voxel_um,
        "stats": case.info.to_json()["stats"],
        **result,
    }
    (out / "label.json").write_text(json.dumps(page, indent=1))
    return result


def _placed(case: Case, labels: npt.NDArray[np.uint32]) -> list[str]:
    """What to ask about where the label lies, and how it differs from the pseudo-label."""
    pseudo = None if case.pseudo is None else case.pseudo.astype(np.uint32)
    words = []
    if pseudo is not None:
        words += copied(labels, pseudo) + coverage(labels, pseudo, case.seen)
    if case.seen is not None and pseudo is not None:
        pseudo = np.where(case.seen, pseudo, 0)
    place = better_place(labels, pseudo, case.image[0].astype(np.float32))
    if place is not None:
        words.append(f"it would fit clearly better {place.words()}: was it saved that way?")
    return words
