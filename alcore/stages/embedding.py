"""Stage embedding: the unit vectors of one volume's patches by one encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alcore.errors import PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage, one


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write embeddings.npy, (N, dim) float32 rows of length 1: row i is patch i of the volume's patches.json.

    params: read. The result lists as `flat` the rows of patches without a direction, see `alcore.encoder.embed.Embedded`.
    The encoder stays in the memory of the process for the next volumes.
    Raises PermanentError when the encoder was built for another number of channels.
    """
    import numpy as np

    from alcore.encoder.embed import warm
    from alcore.encoder.pool import PoolVolume
    from alcore.encoder.slices import patch_windows, read_limit_px
    from alcore.volumes import open_volume

    volume = PoolVolume.of(one(inputs, "volume"), one(inputs, "source"), params["read"])
    embedder = warm(one(inputs, "encoder"), inputs["encoder"][0].key, ctx.device)
    if embedder.features.kind == "mae":
        import torch

        torch.set_num_threads(ctx.threads)
    channels = volume.info.shape[0]
    if channels != embedder.features.channels:
        raise PermanentError(
            f"{volume.source}: has {channels} channels, the encoder was trained on {embedder.features.channels}; "
            "choose `channels` in the read options"
        )
    patches = volume.patches
    total = sum(len(patch_windows(box)) for box in patches)
    done = 0

    def tick(n: int) -> None:
        nonlocal done
        if ctx.should_stop():
            raise Preempted(f"embedding stopped after {done} of {total} slices; it starts again")
        done += n
        ctx.progress(done / total, f"{done} of {total} slices")

    with open_volume(volume.source, volume.read) as reader:
        embedded = embedder.patches(reader, patches, volume.info.stats, tick, read_limit_px(ctx.ram_bytes))
    np.save(out / "embeddings.npy", embedded.vectors)
    return {"n": len(embedded.vectors), "dim": embedder.dim, "flat": embedded.flat}


STAGE = Stage("embedding", 3, run)
