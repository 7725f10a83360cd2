"""Stage package: the folder an annotator opens: image, pseudo-label, preview and why this patch was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write image.tif (C, Z, Y, X native dtype), pseudo_label.tif (ids 1..n; only with input pseudo), preview.png, nearest_1.png
    and so on, and suggestion.json for one box.

    Inputs volume, source, pseudo (none or one), neighbour (packages of labelled patches that look alike: their previews).
    params: read, box, suggestion {"id", "rank", "distance", "reason", "volume_name", "arm", "why": numbers by name},
    neighbours [{"suggestion", "volume_name", "box", "distance"}] aligned with the input. Raises PermanentError when they are
    not.
    """
    import shutil

    import numpy as np

    from alcore.arrays.instancing import relabel_sequential
    from alcore.volumes import open_volume
    from alcore.volumes.picture import write_preview
    from alcore.volumes.store import open_labels
    from alcore.volumes.writers import write_image_tiff, write_labels_tiff

    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    box, suggestion = Box.from_json(params["box"]), dict(params["suggestion"])
    with open_volume(one(inputs, "source"), params["read"]) as reader:
        image = reader.read(box)
    about = {
        "suggestion": str(suggestion["id"]),
        "volume_sha256": info.sha256,
        "start_zyx": " ".join(map(str, box.start)),
    }
    write_image_tiff(out / "image.tif", image, info.voxel_um, about)
    ctx.progress(0.5, "image written")

    middle, outlines, n_objects = box.shape[0] // 2, None, None
    if inputs.get("pseudo"):
        stored = open_labels(one(inputs, "pseudo") / "instances.zarr")
        pseudo = relabel_sequential(np.asarray(stored[box.slices]))
        n_objects = int(pseudo.max())
        dtype = "uint16" if n_objects < 1 << 16 else "uint32"
        write_labels_tiff(
            out / "pseudo_label.tif", pseudo, box.shape, dtype, info.voxel_um, {**about, "origin": "pseudo"}
        )
        outlines = pseudo[middle]
    write_preview(out / "preview.png", image[0, middle], outlines)
    packages, neighbours = inputs.get("neighbour", []), [dict(n) for n in params.get("neighbours", [])]
    if len(packages) != len(neighbours):
        raise PermanentError(
            f"{len(neighbours)} neighbours are named in params, and there are {len(packages)} packages"
        )
    for number, (package, neighbour) in enumerate(zip(packages, neighbours, strict=True), start=1):
        neighbour["picture"] = f"nearest_{number}.png"
        shutil.copyfile(package.path / "preview.png", out / neighbour["picture"])
    page = {
        **suggestion,
        "neighbours": neighbours,
        "box": box.to_json(),
        "volume_sha256": info.sha256,
        "voxel_um": info.voxel_um,
        "n_pseudo_objects": n_objects,
    }
    (out / "suggestion.json").write_text(json.dumps(page, indent=1))
    return {"n_pseudo_objects": n_objects}


STAGE = Stage("package", 2, run)
