"""Stage label: check a label that somebody saved, and make it a self-contained training case."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import BadLabelError, SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.stage import Context, Input, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEAST_LIMIT_BYTES = 1 << 30
"""A label of the wrong shape up to this size is told so; a larger one is refused for its size."""

SAME_SIZE = "save the label with the size of image.tif, neither cropped nor rescaled"


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write the files of `alcore.volumes.label_case.write_case`, all of exactly the patch, and return its result.

    Inputs file, volume, package (of stage package, or an earlier label of this patch), seen (none, or the mask of what was
    looked at, see `alcore.arrays.seen.looked_at`). params: suggestion (id), box, confirm_empty, seen (see
    `alcore.arrays.seen.said`), not_looked_at (the reserved value, 0 = none). What was looked at is what all that is said agrees
    on. A label and its mask may have the shape of the package's image: the margin is cut off. Raises BadLabelError with a reason
    for people, SourceChangedError when a received file changed, SourceMissingError when it is gone.
    """
    import numpy as np

    from alcore.arrays.label_values import small_enough, whole_numbers
    from alcore.arrays.seen import looked_at, reserved, said
    from alcore.volumes.label_case import Case, write_case

    (received,) = inputs["file"]
    name, empty = received.path.name, bool(params["confirm_empty"])
    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    box = Box.from_json(params["box"])
    package = _Package(one(inputs, "package"), box)
    stored, remarks = _received(received, package.shape, info, ctx)
    stored = package.cropped(name, stored)
    try:
        mask = whole_numbers(stored)
        parts = [said(params.get("seen"), box.shape), reserved(mask, int(params.get("not_looked_at", 0)), empty)]
        if parts[1] is not None:
            mask = np.where(parts[1], mask, 0)
            remarks.append(f"{1 - parts[1].mean():.0%} of it has the value {params['not_looked_at']}, not looked at")
        small_enough(mask)
    except ValueError as e:
        raise BadLabelError(f"{name}: {e}") from e
    for drawn in inputs.get("seen", []):
        try:
            parts.append(looked_at(package.cropped(drawn.path.name, _received(drawn, package.shape, info, ctx)[0])))
        except ValueError as e:
            raise BadLabelError(f"{drawn.path.name}: {e}") from e
    there = [part for part in parts if part is not None]
    seen = np.logical_and.reduce(there) if there else None
    if seen is not None and not seen.any():
        raise BadLabelError(f"{name}: nothing of it was looked at")
    if not (mask if seen is None else mask[seen]).any() and not empty:
        raise BadLabelError(
            f"{name}: empty; if there is really nothing to label in this patch, confirm that it is empty"
        )
    ctx.progress(0.4, "read")
    return write_case(
        out, Case(str(params["suggestion"]), box, info, package.image(), mask, package.pseudo(), seen), remarks
    )


class _Package:
    """What the annotator was given: by stage package, with a margin around the patch, or an earlier label of the same patch."""

    def __init__(self, folder: Path, box: Box) -> None:
        from alcore.volumes.patch_image import PatchImage

        kept = PatchImage.of(folder, box.shape)
        self._folder, self._inside, self.shape = folder, kept.inside, kept.shape

    def cropped(self, name: str, mask: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A mask of the shape of the image, or of the patch, as that of the patch. Raises BadLabelError for another shape."""
        if mask.shape == self._inside.shape:
            return mask
        if mask.shape == self.shape:
            return mask[self._inside.slices]
        from alcore.arrays.label_values import order_hint

        also = "" if self.shape == self._inside.shape else f" (with its margin, as in image.tif, {self.shape})"
        raise BadLabelError(
            f"{name}: shape (Z, Y, X) = {mask.shape}, but the patch is {self._inside.shape}{also}; "
            + (order_hint(mask.shape, self.shape) or order_hint(mask.shape, self._inside.shape) or SAME_SIZE)
        )

    def image(self) -> npt.NDArray[np.generic]:
        """(C, Z, Y, X) of the patch."""
        from alcore.volumes import open_volume

        with open_volume(self._folder / "image.tif") as reader:
            return reader.read(self._inside)

    def pseudo(self) -> npt.NDArray[np.integer] | None:
        """(Z, Y, X) ids of the patch, or None."""
        import numpy as np

        from alcore.volumes.labels import read_labels

        for name in ("pseudo_label.tif", "pseudo.tif"):
            if (self._folder / name).is_file():
                return read_labels(self._folder / name)[0][self._inside.slices].astype(np.uint32)
        return None


def _received(
    received: Input, shape: tuple[int, ...], info: VolumeInfo, ctx: Context
) -> tuple[npt.NDArray[np.generic], list[str]]:
    """The mask in the received file, and what to ask about it; from a copy of our own so that nobody changes it meanwhile."""
    from alcore.plainfile import NotPlainError, open_plain
    from alcore.volumes.labels import read_labels, size_remark

    limit = max(LEAST_LIMIT_BYTES, 4 * 8 * math.prod(shape))
    ctx.scratch.mkdir(parents=True, exist_ok=True)
    copy = ctx.scratch / "received.tif"  # whatever it is: formats are recognised by content
    digest = hashlib.sha256()
    try:
        try:
            source = open_plain(received.path)
        except FileNotFoundError as e:
            raise SourceMissingError(f"{received.path}: the received label is not there any more") from e
        except NotPlainError as e:
            raise SourceChangedError(f"{received.path}: was exchanged since it was received; save it again") from e
        with source, open(copy, "wb") as target:
            if os.fstat(source.fileno()).st_size > limit:
                raise BadLabelError(
                    f"{received.path.name}: larger than {limit / 2**30:.0f} GB, which is no label of {shape}"
                )
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        if received.key.startswith("sha256:") and received.key != f"sha256:{digest.hexdigest()}":
            raise SourceChangedError(f"{received.path}: changed since it was received; save it again")
        try:
            return read_labels(copy, limit)[0], size_remark(copy, info.voxel_um)
        except UnreadableVolumeError as e:
            raise BadLabelError(f"{received.path.name}{str(e).removeprefix(str(copy))}") from e
    finally:
        copy.unlink(missing_ok=True)


STAGE = Stage("label", 3, run, hostile=True)
