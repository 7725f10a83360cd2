"""Stage agreement: how well two labels of one patch by two people agree: the ceiling for any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError
from alcore.stage import Context, Inputs, Params, Stage, one

IOU = 0.5


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write agreement.json and return the same: counts (`alcore.arrays.matching.Counts`, the first label as the truth), scores.

    Inputs: first, second: label artifacts of the same patch. What either person did not look at is left out. F1 at IoU 0.5
    and Dice are the same whichever comes first. Raises PermanentError for labels of different shapes.
    """
    from dataclasses import asdict

    import numpy as np

    from alcore.arrays import matching
    from alcore.nnunet import sources

    first, second = one(inputs, "first"), one(inputs, "second")
    truth, other = sources.label_mask(first), sources.label_mask(second)
    if truth.shape != other.shape:
        raise PermanentError(f"the labels to compare have the shapes {truth.shape} and {other.shape}: not of one patch")
    unseen = [m for m in (sources.label_ignored(first), sources.label_ignored(second)) if m is not None]
    ignore = np.logical_or.reduce(unseen) if unseen else None
    counts = matching.count(other, truth, IOU, ignore)
    result = {"counts": asdict(counts), "scores": counts.scores().to_json()}
    (out / "agreement.json").write_text(json.dumps(result, indent=1))
    return result


STAGE = Stage("agreement", 1, run)
