"""Stage package: the folder an annotator opens: image with some context, pseudo-label, preview and why this patch was chosen."""

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

    Both images reach `margin` voxels (z, y, x; params, default none) beyond the box where the volume does; suggestion.json
    says how far ("margin": {"before", "after"}). The pseudo-label is 0 there: only the box is asked about.

    Inputs volume, source, pseudo (none or one), neighbour (packages of labelled patches that look alike: their previews).
    params: read, box, suggestion {"id", "distance", "reason", "volume_name", "arm", "why": numbers by name},
    all as when it was chosen,
    neighbours [{"suggestion", "volume_name", "box", "distance"}] aligned with the input. Raises PermanentError when they are
    not.
    """
    import shutil

    import numpy as np

    from alcore.arrays.context import grown
    from alcore.arrays.instancing import relabel_sequential
    from alcore.volumes import open_volume
    from alcore.volumes.picture import write_preview
    from alcore.volumes.store import open_labels
    from alcore.volumes.writers import write_image_tiff, write_labels_tiff

    info = VolumeInfo.from_json(json.loads((one(inputs, "volume") / "info.json").read_text()))
    box, suggestion = Box.from_json(params["box"]), dict(params["suggestion"])
    margin_z, margin_y, margin_x = (int(n) for n in params.get("margin", (0, 0, 0)))
    whole, inside = grown(box, (margin_z, margin_y, margin_x), info.zyx)
    with open_volume(one(inputs, "source"), params["read"]) as reader:
        image = reader.read(whole)
    about = {
        "suggestion": str(suggestion["id"]),
        "volume_sha256": info.sha256,
        "start_zyx": " ".join(map(str, box.start)),
    }
    write_image_tiff(out / "image.tif", image, info.voxel_um, about)
    ctx.progress(0.5, "image written")

    middle, outlines, n_objects = inside.start[0] + box.shape[0] // 2, None, None
    if inputs.get("pseudo"):
        stored = open_labels(one(inputs, "pseudo") / "instances.zarr")
        pseudo = np.zeros(whole.shape, np.uint32)
        pseudo[inside.slices] = relabel_sequential(np.asarray(stored[box.slices]))
        n_objects = int(pseudo.max())
        dtype = "uint16" if n_objects < 1 << 16 else "uint32"
        write_labels_tiff(
            out / "pseudo_label.tif", pseudo, whole.shape, dtype, info.voxel_um, {**about, "origin": "pseudo"}
        )
        outlines = pseudo[middle]
    write_preview(out / "preview.png", image[0, middle], outlines, inside.slices[1:])
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
        "margin": {
            "before": list(inside.start),
            "after": [n - b for n, b in zip(whole.shape, inside.stop, strict=True)],
        },
        "image_shape": list(whole.shape),
        "volume_sha256": info.sha256,
        "voxel_um": info.voxel_um,
        "n_pseudo_objects": n_objects,
    }
    (out / "suggestion.json").write_text(json.dumps(page, indent=1))
    return {"n_pseudo_objects": n_objects}


STAGE = Stage("package", 3, run)
