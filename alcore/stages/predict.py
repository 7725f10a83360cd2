"""Stage predict: instance segmentation of a whole volume, of any size, and how sure the model is of each of its patches."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box

BYTES_PER_PX = 128
"""Ids read together, when objects are counted by patch, are limited so that a stage has this much memory for each."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write instances.tif (ids 1..n, uint16 or uint32 beyond 65535), patches.npz and prediction.json.

    Inputs: model, volume, source. params: read, version (written into the file), min_voxels (null: the model's own),
    tile_step (0.5). Memory stays within `ctx.ram_bytes` for any volume (see `Predictor`); scratch needs 5 bytes per voxel
    for the time being.

    patches.npz: (N,) float32 arrays, row i for patch i of the volume's patches.json. entropy_bg, entropy_fg: mean
    predictive entropy, 0..1, over the voxels that the network takes for background and for foreground; NaN where there
    is none (see `PatchEntropy`). foreground, border (shares of voxels), n_objects: of the objects in instances.tif (see
    `ObjectShares`).

    The result has n_objects, foreground_fraction, entropy_bg and entropy_fg of the whole volume, and confidence: one minus
    entropy_fg, null where nothing was found. It ranks volumes, the one to look at first lowest; it is how sure the model is,
    not how right, and no estimate of a score.
    """
    import numpy as np

    from alcore.arrays.entropy import PatchEntropy
    from alcore.arrays.patch_objects import shares
    from alcore.nnunet import sources
    from alcore.nnunet.environment import nnunet_process
    from alcore.volumes import open_volume
    from alcore.volumes.writers import write_labels_tiff

    began = time.monotonic()
    volume = one(inputs, "volume")
    info = sources.volume_info(volume)
    boxes = [Box.from_json(b) for b in json.loads((volume / "patches.json").read_text())]
    entropy = PatchEntropy(boxes)
    (model,) = inputs["model"]
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        from alcore.nnunet.instances import VolumeInstances
        from alcore.nnunet.prediction import Predictor

        predictor = Predictor(model.path, ctx.device, float(params.get("tile_step", 0.5)), ctx.ram_bytes)
        instances = VolumeInstances(ctx.scratch / "prediction", info.zyx, ctx.ram_bytes)
        try:
            with open_volume(one(inputs, "source"), params["read"]) as reader:
                instances.segment(
                    predictor, reader, info.stats, info.voxel_um, params.get("min_voxels"), ctx, entropy.add
                )
            ctx.progress(0.95, "writing instances.tif")
            dtype = "uint16" if instances.n_objects < 1 << 16 else "uint32"
            about = {"model": str(params["version"]), "model_key": model.key, "volume_sha256": info.sha256}
            write_labels_tiff(out / "instances.tif", instances.rows(), info.zyx, dtype, info.voxel_um, about)
            ctx.progress(0.98, "looking at the patches")
            objects = shares(boxes, instances.n_objects, instances.ids, ctx.ram_bytes // BYTES_PER_PX)
        finally:
            instances.close()
    patches = entropy.patches() | objects.result()
    del patches["confidence"]  # of pseudo-labelled objects only
    with open(out / "patches.npz", "wb") as f:
        np.savez(f, **patches)  # type: ignore[arg-type]
    z, y, x = info.zyx
    unsure = entropy.volume()
    result = {
        "n_objects": instances.n_objects,
        "foreground_fraction": instances.foreground_voxels / (z * y * x),
        **unsure,
        "confidence": None if unsure["entropy_fg"] is None else round(1 - unsure["entropy_fg"], 6),
        "seconds": round(time.monotonic() - began, 3),
    }
    (out / "prediction.json").write_text(json.dumps({**result, **about, "dtype": dtype}, indent=1))
    return result


STAGE = Stage("predict", 2, run, long=True)
