"""What makes the answer of a simulation worth little, in sentences that name the file and say what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.simulation.cell import ALL
from alcore.simulation.results import Row

SPLIT = "give every object a number of its own (connected components: scipy.ndimage.label, or MorphoLibJ in Fiji) and play again"


def of_labels(labels: Path, truth: npt.NDArray[np.uint32]) -> list[str]:
    """Of a mask (Z, Y, X), ids 1..n: one that holds a single object, or that says what is an object but not which."""
    if int(truth.max()) != 1:
        return []
    from scipy import ndimage

    pieces = int(ndimage.label(truth)[1])
    if pieces > 1:
        return [
            f"{labels.name} looks like a semantic mask: it holds one value besides 0, in {pieces} pieces that do not touch, and all of "
            f"them count as a single object, so that scores mean little; {SPLIT}"
        ]
    return [
        f"{labels.name} holds a single object: a test region finds it or does not, so that scores mean little; if it is a semantic "
        f"mask, {SPLIT}, else take an image with more objects"
    ]


def of_scores(rows: Sequence[Row], told: Mapping[str, Any]) -> list[str]:
    """Of pools on which models with all labels find nothing. told: run.json, which names the labels."""
    found = []
    for learner, pool in sorted({(row.learner, row.pool) for row in rows}):
        scores = [r.f1 for r in rows if (r.learner, r.pool, r.strategy) == (learner, pool, ALL)]
        if scores and not any(score > 0 for score in scores):
            name = ((told.get("pools") or {}).get(pool) or {}).get("labels", {}).get("name") or f"the labels of {pool}"
            found.append(
                f"F1 with all labels is 0 on {pool}: no object of a test region was ever matched, and strategies cannot be compared; "
                f"look whether {name} lies on its image and numbers every object for itself; if so, try larger patches (--patch) "
                f"or {'longer training (--finetune-epochs)' if learner == 'nnunet' else '--learner nnunet'}"
            )
    return found


def of_voxels(image: Path, voxel_um: Sequence[float] | None, slices: int) -> list[str]:
    """Of an image without a voxel size, where that matters."""
    if voxel_um is not None or slices == 1:
        return []
    return [
        f"{image.name} states no voxel size: its voxels are taken to be as deep as wide; if slices are further apart, say so with "
        "--voxel-um Z Y X"
    ]
