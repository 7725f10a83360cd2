"""Stage sam_embedding: what Segment Anything sees in every slice of a patch, before somebody sits down to annotate it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.stage import Context, Inputs, Params, Stage, one

CACHE = "sam_embeddings"
"""Folder in the cache of all jobs. The artifact itself is only a record: embeddings are large, and go when the patch is answered."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write <cache>/sam_embeddings/<key of the package>/<model>-<version>/ (see `alcore.annotate.sam.store_embeddings`).

    Inputs package (a suggestion's folder), weights (the checkpoint; its decoder is not needed). params: name of the model. Where
    slices are wider than the model sees, its tiles take the place of slices.
    Stops at a slice when it is asked to, and goes on with the next one. Raises PermanentError for wrong weights,
    TransientError when the device has no room.
    """
    import json

    import numpy as np
    import torch

    from alcore.annotate.lazy import Feature, parts_of
    from alcore.annotate.order import Weights
    from alcore.annotate.patch import picture, read_patch
    from alcore.annotate.sam import embed_slice, load_predictor, store_embeddings
    from alcore.errors import Preempted, TransientError
    from alcore.pseudo.micro_sam_model import device_memory
    from alcore.pseudo.planes import DeviceMemoryError
    from alcore.pseudo.warm import warm
    from alcore.weights.places import digest

    torch.set_num_threads(ctx.threads)
    checkpoint = one(inputs, "weights")
    weights = Weights(str(params["model"]), (str(checkpoint),))
    (package,) = inputs["package"]
    planes = [plane for part in parts_of(picture(read_patch(package.path).image)) for plane in part]
    parts = [ctx.scratch / f"slice-{z:05d}.npy" for z in range(len(planes))]
    try:
        with device_memory():
            found = digest(checkpoint)
            predictor, _ = warm((CACHE, found, ctx.device), lambda: load_predictor(weights, ctx.device))
            for z, part in enumerate(parts):
                if not part.is_file():
                    if ctx.should_stop():
                        raise Preempted(f"{z} of {len(parts)} slices are done")
                    tmp = part.with_suffix(".tmp")
                    with open(tmp, "wb") as f:
                        np.save(f, embed_slice(predictor, planes[z]))
                    tmp.rename(part)
                ctx.progress((z + 1) / (len(parts) + 1), f"slice {z + 1} of {len(parts)}")
    except DeviceMemoryError as e:
        raise TransientError(str(e)) from e

    def feature(z: int) -> Feature:
        read: Feature = np.load(parts[z])
        return read

    place = store_embeddings(ctx.cache / CACHE / package.key, found, len(parts), feature)
    for part in parts:
        part.unlink()
    record = {"slices": len(parts), "model": weights.name, "folder": place.name}
    (out / "embedding.json").write_text(json.dumps(record, indent=1))
    return record


STAGE = Stage("sam_embedding", 2, run, preemptible=True)
