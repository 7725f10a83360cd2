"""Stage encoder: train a masked autoencoder on slices of the pool, and let it pass only with a good self-test."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from alcore.errors import EncoderRejectedError, PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage

STANDARDISE_ON = 256
"""Training slices that the standardisation of the embedding is measured on."""

FINE_TOKENS_BELOW_PX = 128
"""Images smaller than this are cut into tokens of 8 px, others into 16 px as in the paper."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write encoder.safetensors, encoder.json and selftest.json; see `alcore.encoder` for the science.

    params: read (list aligned with volume and source), size, epochs, warmup_epochs, base_lr (for a batch of 256),
    weight_decay, mask_ratio, image_px, batch, max_slices (training slices kept, in all), seed.
    Raises EncoderRejectedError with the numbers when the self-test fails, Preempted when asked to stop.
    """
    import numpy as np
    import timm
    import torch

    from alcore.encoder import pool as pools
    from alcore.encoder import selftest
    from alcore.encoder.design import Design
    from alcore.encoder.embed import Embedder, pooled
    from alcore.encoder.slices import centre_crops, read_limit_px
    from alcore.encoder.standardise import Standardisation
    from alcore.encoder.training import Schedule, train

    torch.set_num_threads(ctx.threads)
    seed = int(params["seed"])
    if int(params["max_slices"]) < 1:
        raise PermanentError(f"encoder max_slices is {params['max_slices']}; it must be at least 1")
    pool = [
        pools.PoolVolume.of(volume.path, source.path, read)
        for volume, source, read in zip(inputs["volume"], inputs["source"], params["read"], strict=True)
    ]
    channels = pools.channels_of(pool)
    wanted_px = int(params["image_px"])
    token_px = 8 if wanted_px < FINE_TOKENS_BELOW_PX else 16
    design = Design.of(params["size"], channels, token_px, pools.working_px(pool, wanted_px, token_px))
    schedule = Schedule(
        epochs=int(params["epochs"]),
        warmup_epochs=int(params["warmup_epochs"]),
        base_lr=float(params["base_lr"]),
        weight_decay=float(params["weight_decay"]),
        mask_ratio=float(params["mask_ratio"]),
        batch=int(params["batch"]),
        seed=seed,
    )
    schedule.validate(design)

    def reading(done: int, count: int) -> None:
        if ctx.should_stop():
            raise Preempted("stopped while training slices were read; they are read again")
        if done % 64 == 0:
            ctx.progress(0.0, f"reading training slices, {done} of {count}")

    read_px = read_limit_px(ctx.ram_bytes)
    count = int(params["max_slices"])
    with closing(pools.stored_slices(pool, count, design.image_px, seed, ctx.scratch, reading, read_px)) as slices:
        encoder, losses = train(slices, design, schedule, ctx)
        some = np.arange(0, len(slices), max(1, len(slices) // STANDARDISE_ON))
        middle = centre_crops(slices[some], design.image_px)

    ctx.progress(1.0, "self-test")
    rng = np.random.default_rng([seed, len(slices)])
    standardisation = Standardisation.measured(lambda images: pooled(encoder, images, ctx.device), middle, rng)
    embedder = Embedder(encoder, standardisation, ctx.device)
    images = pools.selftest_images(pool, design.image_px, selftest.WANTED_SLICES, selftest.MOST_SLICES, read_px)
    tested = selftest.measure(embedder.images, images, rng)
    if tested.failures:
        raise EncoderRejectedError(
            f"the encoder trained on {len(pool)} volumes failed its self-test and must not select: "
            f"{'; '.join(tested.failures)} (loss {losses[0]:.3f} -> {losses[-1]:.3f}, {tested.n_slices} slices)"
        )
    about = {
        "training": {**{k: v for k, v in params.items() if k != "read"}, "n_slices": len(slices), "losses": losses},
        "versions": {"torch": str(torch.__version__), "timm": timm.__version__},
    }
    embedder.save(out, about)
    (out / "selftest.json").write_text(json.dumps(tested.to_json(), indent=1, allow_nan=False))
    return {
        "dim": design.dim,
        "size": design.size,
        "image_px": design.image_px,
        "token_px": design.token_px,
        "n_slices": len(slices),
        "self_retrieval": tested.self_retrieval,
        "effective_rank": tested.effective_rank,
        "mean_cosine": tested.mean_cosine,
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


STAGE = Stage("encoder", 1, run, long=True, isolated=True, preemptible=True)
