"""Stage predict: instance segmentation of a whole volume, of any size, as a TIFF that Fiji and napari open."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage, one


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write instances.tif (ids 1..n, uint16 or uint32 beyond 65535) and prediction.json.

    Inputs: model, volume, source. params: read, version (written into the file), min_voxels (null: the model's own),
    tile_step (0.5). Memory stays within `ctx.ram_bytes` for any volume (see `Predictor`); scratch needs 5 bytes per voxel
    for the time being.
    """
    from alcore.nnunet import sources
    from alcore.nnunet.environment import nnunet_process
    from alcore.volumes import open_volume
    from alcore.volumes.writers import write_labels_tiff

    began = time.monotonic()
    info = sources.volume_info(one(inputs, "volume"))
    (model,) = inputs["model"]
    with nnunet_process(ctx.scratch, ctx.device, ctx.threads):
        from alcore.nnunet.instances import VolumeInstances
        from alcore.nnunet.prediction import Predictor

        predictor = Predictor(model.path, ctx.device, float(params.get("tile_step", 0.5)), ctx.ram_bytes)
        instances = VolumeInstances(ctx.scratch / "prediction", info.zyx, ctx.ram_bytes)
        try:
            with open_volume(one(inputs, "source"), params["read"]) as reader:
                instances.segment(predictor, reader, info.stats, info.voxel_um, params.get("min_voxels"), ctx)
            ctx.progress(0.95, "writing instances.tif")
            dtype = "uint16" if instances.n_objects < 1 << 16 else "uint32"
            about = {"model": str(params["version"]), "model_key": model.key, "volume_sha256": info.sha256}
            write_labels_tiff(out / "instances.tif", instances.rows(), info.zyx, dtype, info.voxel_um, about)
        finally:
            instances.close()
    z, y, x = info.zyx
    result = {
        "n_objects": instances.n_objects,
        "foreground_fraction": instances.foreground_voxels / (z * y * x),
        "seconds": round(time.monotonic() - began, 3),
    }
    (out / "prediction.json").write_text(json.dumps({**result, **about, "dtype": dtype}, indent=1))
    return result


STAGE = Stage("predict", 1, run, long=True)
