"""Stage label: check a label that somebody saved, and make it a self-contained training case."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import BadLabelError, SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.stage import Context, Input, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_ID = 2**31
"""Ids from here on do not survive the tools that use signed 32-bit integers."""
SPECK_VOXELS = 8
LEAST_LIMIT_BYTES = 1 << 30
"""A label of the wrong shape up to this size is told so; a larger one is refused for its size."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write image.tif, label.tif (uint32, ids 1..n), pseudo.tif (if the package has one) and label.json.

    params: suggestion (id), box, confirm_empty. Raises BadLabelError with a reason for people, SourceChangedError when
    the received file changed, SourceMissingError when it is gone.
    """
    import numpy as np

    from alcore.arrays.instancing import relabel_sequential
    from alcore.volumes.writers import write_labels_tiff

    (received,) = inputs["file"]
    package = one(inputs, "package")
    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    box = Box.from_json(params["box"])
    mask = _whole_numbers(received.path, _received(received, box, ctx), box, bool(params["confirm_empty"]))
    labels = relabel_sequential(mask)
    ctx.progress(0.4, "checked")

    warnings = _oddities(labels, np.setdiff1d(mask, [0]))
    pseudo_path = package / "pseudo_label.tif"
    if pseudo_path.is_file():
        warnings += _unchanged(labels, pseudo_path)
        shutil.copyfile(pseudo_path, out / "pseudo.tif")
    shutil.copyfile(package / "image.tif", out / "image.tif")
    about = {"suggestion": str(params["suggestion"]), "volume_sha256": info.sha256, "origin": "human"}
    write_labels_tiff(out / "label.tif", labels, box.shape, "uint32", info.voxel_um, about)
    result = {
        "n_objects": int(labels.max()),
        "foreground_fraction": float((labels > 0).mean()),
        "warnings": warnings,
    }
    page = {
        "suggestion": params["suggestion"],
        "box": box.to_json(),
        "volume_sha256": info.sha256,
        "voxel_um": info.voxel_um,
        "stats": info.to_json()["stats"],
        **result,
    }
    (out / "label.json").write_text(json.dumps(page, indent=1))
    return result


def _received(received: Input, box: Box, ctx: Context) -> npt.NDArray[np.generic]:
    """The mask in the received file, read from a copy of our own so that nobody changes it meanwhile."""
    from alcore.volumes.labels import read_labels

    limit = max(LEAST_LIMIT_BYTES, 4 * 8 * box.voxels)
    ctx.scratch.mkdir(parents=True, exist_ok=True)
    copy = ctx.scratch / "received.tif"
    digest = hashlib.sha256()
    try:
        if not received.path.is_file():
            raise SourceMissingError(f"{received.path}: the received label is not there any more")
        if received.path.stat().st_size > limit:
            raise BadLabelError(
                f"{received.path.name}: larger than {limit / 2**30:.0f} GB, which is no label of {box.shape}"
            )
        with open(received.path, "rb") as source, open(copy, "wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        if received.key.startswith("sha256:") and received.key != f"sha256:{digest.hexdigest()}":
            raise SourceChangedError(f"{received.path}: changed since it was received; save it again")
        try:
            return read_labels(copy, limit)[0]
        except UnreadableVolumeError as e:
            raise BadLabelError(f"{received.path.name}{str(e).removeprefix(str(copy))}") from e
    finally:
        copy.unlink(missing_ok=True)


def _whole_numbers(path: Path, mask: npt.NDArray[np.generic], box: Box, confirm_empty: bool) -> npt.NDArray[np.generic]:
    """The mask in the shape of the box with integer ids, or BadLabelError saying what is wrong."""
    import numpy as np

    name = path.name
    if mask.shape != box.shape:
        raise BadLabelError(
            f"{name}: shape (Z, Y, X) = {mask.shape}, but the patch is {box.shape}; "
            "save the label with the size of image.tif, neither cropped nor rescaled"
        )
    if mask.dtype.kind == "f":
        if not np.isfinite(mask).all() or (mask != np.rint(mask)).any():
            raise BadLabelError(f"{name}: holds fractions or NaN; a label has whole numbers, one per object")
        if mask.min() < 0 or mask.max() >= MAX_ID:
            raise BadLabelError(f"{name}: ids from {mask.min():g} to {mask.max():g}; they must be 0 to {MAX_ID - 1}")
        mask = mask.astype(np.int64)
    lowest, highest = int(mask.min()), int(mask.max())
    if lowest < 0 or highest >= MAX_ID:
        raise BadLabelError(f"{name}: ids from {lowest} to {highest}; they must be 0 (background) to {MAX_ID - 1}")
    if highest == 0 and not confirm_empty:
        raise BadLabelError(
            f"{name}: empty; if there is really nothing to label in this patch, confirm that it is empty"
        )
    return mask


def _oddities(labels: npt.NDArray[np.uint32], names: npt.NDArray[np.generic]) -> list[str]:
    """What is allowed but looks like a slip. names: the ids 1..n as the annotator wrote them."""
    import numpy as np
    from skimage.measure import label as pieces_of

    warnings = []
    pieces = pieces_of(labels, connectivity=3)
    first = np.unique(pieces, return_index=True)[1]
    pieces_per_id = np.bincount(labels.ravel()[first], minlength=len(names) + 1)[1:]
    torn = names[pieces_per_id > 1]
    if torn.size:
        warnings.append(f"in several pieces: {torn.size} of {len(names)} objects (ids {_some(torn)})")
    sizes = np.bincount(labels.ravel(), minlength=len(names) + 1)
    specks = names[sizes[1:] < SPECK_VOXELS]
    if specks.size:
        warnings.append(
            f"fewer than {SPECK_VOXELS} voxels: {specks.size} of {len(names)} objects (ids {_some(specks)})"
        )
    if sizes[0] == 0:
        warnings.append("no voxel is background: is the background saved as an object?")
    return warnings


def _unchanged(labels: npt.NDArray[np.uint32], pseudo_path: Path) -> list[str]:
    """Say how many objects are voxel for voxel those of the pseudo-label."""
    import numpy as np

    from alcore.volumes.labels import read_labels

    pseudo, _ = read_labels(pseudo_path)
    width = np.uint64(int(pseudo.max()) + 1)
    pairs, shared = np.unique(labels.astype(np.uint64) * width + pseudo.astype(np.uint64), return_counts=True)
    ours, theirs = (pairs // width).astype(np.intp), (pairs % width).astype(np.intp)
    same = (ours > 0) & (theirs > 0)
    same &= shared == np.bincount(labels.ravel())[ours]
    same &= shared == np.bincount(pseudo.ravel().astype(np.intp))[theirs]
    n, total = int(same.sum()), int(labels.max())
    if n and n == total:
        return [f"all {n} objects are identical to the pseudo-label: was it saved unchanged?"]
    return [f"{n} of {total} objects are identical to the pseudo-label"] if n else []


def _some(ids: npt.NDArray[np.generic]) -> str:
    """The first few ids, for a message."""
    return ", ".join(str(i) for i in ids[:5]) + (", ..." if ids.size > 5 else "")


STAGE = Stage("label", 1, run, hostile=True)
