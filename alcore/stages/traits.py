"""Stage traits: what is known of every patch of one volume before anybody looks at it, from its image and pseudo-labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import PermanentError, Preempted, SourceChangedError
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


SLICES_PER_PATCH = 8
"""At most so many slices of a patch are looked at, evenly spaced."""
READ_BYTES_PER_PX = 128
"""Pixels read together are limited so that a stage has this much memory for each."""
MOST_PX = 1 << 24


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write traits.npz: (N,) float32 arrays by name, row i for patch i of the volume's patches.json, NaN = unknown.

    Inputs volume, source, pseudo (none or one); params: read. From sampled slices of the image: sharpness, contrast, clipped,
    blank (see `alcore.arrays.imagetraits`). From all voxels of the pseudo-labels: foreground, border, n_objects, confidence
    (see `alcore.arrays.objecttraits`), all unknown without pseudo-labels. Memory grows with the number of objects and
    patches only. Raises SourceChangedError for a source that is not what was measured, PermanentError for pseudo-labels of
    another shape.
    """
    import numpy as np

    volume = one(inputs, "volume")
    info = VolumeInfo.from_json(json.loads((volume / "info.json").read_text()))
    boxes = [Box.from_json(b) for b in json.loads((volume / "patches.json").read_text())]
    most_px = max(1, min(MOST_PX, ctx.ram_bytes // READ_BYTES_PER_PX))
    pseudo = [item.path for item in inputs.get("pseudo", [])]
    share = 0.5 if pseudo else 1.0

    def tick(fraction: float, note: str) -> None:
        if ctx.should_stop():
            raise Preempted("the patches are looked at again when there is time")
        ctx.progress(fraction, note)

    traits = _image(inputs, params, info, boxes, most_px // info.shape[0], lambda f: tick(share * f, "image"))
    if pseudo:
        traits |= _objects(pseudo[0], info, boxes, most_px, lambda f: tick(share + (1 - share) * f, "pseudo-labels"))
    else:
        unknown = np.full(len(boxes), np.nan, np.float32)
        traits |= dict.fromkeys(("foreground", "border", "n_objects", "confidence"), unknown)
    with open(out / "traits.npz", "wb") as f:
        np.savez(f, **traits)  # type: ignore[arg-type]
    return {"n": len(boxes)}


def _image(
    inputs: Inputs,
    params: Params,
    info: VolumeInfo,
    boxes: list[Box],
    most_px: int,
    tick: Callable[[float], None],
) -> dict[str, npt.NDArray[np.float32]]:
    import numpy as np

    from alcore.arrays.imagetraits import ImageLook
    from alcore.arrays.strips import span, strips, within
    from alcore.volumes import open_volume

    source = one(inputs, "source")
    looks = [ImageLook(info.stats) for _ in boxes]
    runs = strips(boxes, max(1, most_px))
    with open_volume(source, params["read"]) as reader:
        if reader.shape != info.shape or str(reader.dtype) != info.dtype:
            raise SourceChangedError(
                f"{source}: was {info.shape} {info.dtype} when it came in, is {reader.shape} {reader.dtype} now"
            )
        for done, run in enumerate(runs):
            together = [boxes[i] for i in run]
            for z in sampled(together[0]):
                area = span(together, z, 1)
                plane = reader.read(area)[:, 0]
                for i in run:
                    looks[i].add(plane[:, *within(boxes[i], area)])
            tick((done + 1) / len(runs))
    found = [look.result() for look in looks]
    return {
        name: np.array([getattr(traits, name) for traits in found], np.float32)
        for name in ("sharpness", "contrast", "clipped", "blank")
    }


def sampled(box: Box) -> list[int]:
    """Slices z of a patch that are looked at: at most `SLICES_PER_PATCH`, at the middles of equal shares of its depth."""
    n = min(box.shape[0], SLICES_PER_PATCH)
    return [box.start[0] + (2 * i + 1) * box.shape[0] // (2 * n) for i in range(n)]


def _objects(
    pseudo: Path, info: VolumeInfo, boxes: list[Box], most_px: int, tick: Callable[[float], None]
) -> dict[str, npt.NDArray[np.float32]]:
    import numpy as np

    from alcore.arrays.patch_objects import shares
    from alcore.volumes.store import open_labels

    record = json.loads((pseudo / "pseudo.json").read_text())
    labels = open_labels(pseudo / "instances.zarr")
    if tuple(labels.shape) != info.zyx:
        raise PermanentError(f"{pseudo}: pseudo-labels of shape {labels.shape} for a volume of {info.zyx}; remove them")
    confidence = np.asarray(record["confidence"], np.float64)
    n_objects = int(record["n_objects"])
    found = shares(boxes, n_objects, lambda area: np.asarray(labels[area.slices]), most_px, tick)
    return found.result(confidence if len(confidence) == n_objects else None)


STAGE = Stage("traits", 1, run, preemptible=True)
