"""Which pseudo-labelled patches are sure enough to learn from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alcore.errors import PermanentError
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes.store import open_labels


def of_patches(pseudo: Sequence[Input], patches: Sequence[Mapping[str, Any]]) -> list[float]:
    """Confidence in 0..1 of each patch {"volume": index into pseudo, "start", "shape"}: the mean over its objects' voxels.

    NaN where a patch holds no object, or the pseudo-labeller says nothing of its objects.
    """
    records = [json.loads((item.path / "pseudo.json").read_text()) for item in pseudo]
    labels = [open_labels(item.path / "instances.zarr") for item in pseudo]
    found = []
    for patch in patches:
        n = int(patch["volume"])
        known = np.asarray(records[n]["confidence"], np.float64)
        ids = np.asarray(labels[n][Box.from_json(patch).slices])
        ids = ids[ids > 0]
        if not ids.size or len(known) != int(records[n]["n_objects"]):
            found.append(math.nan)
            continue
        which, voxels = np.unique(ids, return_counts=True)
        found.append(float(np.average(known[which - 1], weights=voxels)))
    return found


def sure_enough(
    pseudo: Sequence[Input], patches: Sequence[Mapping[str, Any]], least: float
) -> tuple[list[Mapping[str, Any]], int]:
    """The patches to learn from, and how many are left out because their confidence is below `least`.

    Background, and objects of which nothing is known, stay. Raises PermanentError when nothing with an object is left.
    """
    if not least:
        return list(patches), 0
    confidences = of_patches(pseudo, patches)
    kept = [p for p, c in zip(patches, confidences, strict=True) if not c < least]
    known = [c for c in confidences if not math.isnan(c)]
    if known and max(known) < least:
        raise PermanentError(
            f"none of {len(patches)} pseudo-labelled patches reaches training.pretrain_min_confidence = {least:g} (the surest "
            f"has {max(known):.2f}): lower it, or set training.pretrain = false"
        )
    return kept, len(patches) - len(kept)
