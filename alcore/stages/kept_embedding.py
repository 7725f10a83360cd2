"""Stage kept_embedding: the unit vectors of patches of a volume that cannot be read any more, from images that were kept.

A patch that people were shown goes on counting as covered when another encoder comes to select and its acquisition has gone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage, one
from alcore.types import Box, VolumeInfo


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write embeddings.npy, (n, dim) float32 rows of length 1, and patches.npy, (n,) int64 ascending: which patches they are of.

    Inputs encoder, volume (its boxes and the statistics that normalise it), image (folders of suggestions or labels, one for each
    patch). params: rows (the patches, aligned with image). The vectors are those that stage embedding makes of the acquisition.
    The result lists as `flat` the rows of embeddings.npy without a direction, see `alcore.encoder.embed.Embedded`.
    Raises PermanentError for an image that is not of its patch, or of another number of channels than the encoder's.
    """
    import numpy as np

    from alcore.encoder.embed import warm
    from alcore.encoder.slices import read_limit_px
    from alcore.index.artifact import PATCHES, VECTORS
    from alcore.volumes import open_volume
    from alcore.volumes.patch_image import PatchImage

    volume = one(inputs, "volume")
    info = VolumeInfo.from_json(json.loads((volume / "info.json").read_text()))
    boxes = [Box.from_json(box) for box in json.loads((volume / "patches.json").read_text())]
    embedder = warm(one(inputs, "encoder"), inputs["encoder"][0].key, ctx.device)
    if embedder.features.kind == "mae":
        import torch

        torch.set_num_threads(ctx.threads)
    kept = sorted(zip((int(row) for row in params["rows"]), inputs["image"], strict=True), key=lambda pair: pair[0])
    vectors, flat = np.empty((len(kept), embedder.dim), np.float32), []
    for i, (row, item) in enumerate(kept):
        if ctx.should_stop():
            raise Preempted(f"embedding stopped after {i} of {len(kept)} kept patches; it starts again")
        if not 0 <= row < len(boxes):
            raise PermanentError(f"{item.path}: is of patch {row}, the volume has {len(boxes)}")
        image = PatchImage.of(item.path, boxes[row].shape)
        with open_volume(image.path) as reader:
            if reader.shape[1:] != image.shape:
                raise PermanentError(f"{image.path}: is {reader.shape[1:]}, patch {row} with its margin {image.shape}")
            if reader.shape[0] != embedder.features.channels:
                raise PermanentError(
                    f"{image.path}: has {reader.shape[0]} channels, the encoder was trained on {embedder.features.channels}"
                )
            found = embedder.patches(reader, [image.inside], info.stats, lambda n: None, read_limit_px(ctx.ram_bytes))
        vectors[i] = found.vectors[0]
        flat += [i] if found.flat else []
        ctx.progress((i + 1) / len(kept), f"{i + 1} of {len(kept)} kept patches")
    np.save(out / VECTORS, vectors)
    np.save(out / PATCHES, np.array([row for row, _ in kept], np.int64))
    return {"n": len(kept), "dim": embedder.dim, "flat": flat}


STAGE = Stage("kept_embedding", 1, run)
