"""Stage truth: cut a mask of a whole volume into its patches, and make each a self-contained training case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import BadLabelError
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_SHARE = 0.25
"""Of the stage's memory, for a mask that can only be read as a whole."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write a folder <row> for every patch, with the files of `alcore.volumes.label_case.write_case`.

    Inputs truth (a label file, an OME-Zarr, a folder of slices, ...), volume, source, pseudo (none or one). params: read (of the
    source), patches [{"row", "start", "shape"}], skip_empty (patches without any object are left out: they were not labelled;
    else they are labels that say so), not_looked_at (the reserved value, 0 = none), limit_gb. Returns {"labels": [{"row",
    "folder", **result of the case}], "skipped": [{"row", "why"}]}. Raises BadLabelError when the mask does not fit the volume.
    """
    import numpy as np

    from alcore.arrays.label_values import order_hint
    from alcore.volumes import open_volume
    from alcore.volumes.label_case import Case, write_case
    from alcore.volumes.store import open_labels
    from alcore.volumes.truth import open_truth

    path = one(inputs, "truth")
    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    pseudo = open_labels(one(inputs, "pseudo") / "instances.zarr") if inputs.get("pseudo") else None
    limit = int(float(params["limit_gb"]) * 1e9)
    labels: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    n_unseen = 0
    with (
        open_truth(path, limit, int(MOST_SHARE * ctx.ram_bytes)) as truth,
        open_volume(one(inputs, "source"), params["read"]) as source,
    ):
        if truth.shape != info.zyx:
            hint = order_hint(truth.shape, info.zyx) or "is it of another volume?"
            raise BadLabelError(f"{path.name}: shape (Z, Y, X) = {truth.shape}, but the volume is {info.zyx}; {hint}")
        for number, patch in enumerate(params["patches"]):
            box, row = Box.from_json(patch), int(patch["row"])
            mask, seen = _patch(path.name, truth.read(box), int(params["not_looked_at"]))
            why = ""
            if seen is not None and not seen.any():
                n_unseen += 1
                why = "not looked at"
            elif params["skip_empty"] and not mask.any():
                why = "no object in it"
            if why:
                skipped.append({"row": row, "why": why})
                continue
            folder = out / f"{row:06d}"
            folder.mkdir()
            found = None if pseudo is None else np.asarray(pseudo[box.slices])
            result = write_case(folder, Case("", box, info, source.read(box), mask, found, seen))
            n_unseen += seen is not None
            labels.append({"row": row, "folder": folder.name, **result})
            ctx.progress((number + 1) / len(params["patches"]), f"patch {number + 1} of {len(params['patches'])}")
    if n_unseen and not any(label["n_objects"] for label in labels):
        value = params["not_looked_at"]
        raise BadLabelError(
            f"{path.name}: holds nothing but 0 and {value}, which means 'not looked at'; if these are objects, give each a "
            "number of its own, or set annotation.not_looked_at"
        )
    return {"labels": labels, "skipped": skipped}


def _patch(
    name: str, stored: npt.NDArray[np.generic], value: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    """Ids of one patch, and what of it was looked at (None: all). Raises BadLabelError."""
    import numpy as np

    from alcore.arrays.label_values import small_enough, whole_numbers
    from alcore.arrays.seen import reserved

    try:
        mask = whole_numbers(stored)
        if value and (mask == value).all():
            return np.zeros_like(mask), np.zeros(mask.shape, bool)
        seen = reserved(mask, value, nothing_there=True)
        if seen is not None:
            mask = np.where(seen, mask, 0)
        small_enough(mask)
    except ValueError as e:
        raise BadLabelError(f"{name}: {e}") from e
    return mask, seen


STAGE = Stage("truth", 2, run, hostile=True)
