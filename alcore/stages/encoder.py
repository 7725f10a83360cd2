"""Stage encoder: a masked autoencoder trained on the pool, or a descriptor measured on it; none passes without a good self-test."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alcore.errors import EncoderRejectedError, PermanentError, Preempted
from alcore.stage import Context, Inputs, Params, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alcore.encoder.features import Features
    from alcore.encoder.pool import PoolVolume
    from alcore.encoder.stored import StoredSlices

KINDS = ("mae", "descriptor")

STANDARDISE_ON = 256
"""Training slices that the standardisation of the embedding is measured on."""

SPREAD_ON = 64
"""Patches on which it is measured how much the slices of a patch differ, for pooling "mean_std"."""

FINE_TOKENS_BELOW_PX = 128
"""Images smaller than this are cut into tokens of 8 px, others into 16 px as in the paper."""

DESCRIPTOR_STEP_PX = 4
"""Images of the descriptor are whole multiples of this."""


def run(inputs: Inputs, params: Params, out: Path, ctx: Context) -> dict[str, Any]:
    """Write encoder.json, selftest.json and, of a ViT, encoder.safetensors; see `alcore.encoder` for the science.

    params: read (list aligned with volume and source), kind ("mae" or "descriptor"), image_px, max_slices (training slices
    kept, in all), pooling ("mean" or "mean_std" over the slices of a patch), seed; for a mae also size, epochs,
    warmup_epochs, base_lr (for a batch of 256), weight_decay, mask_ratio, batch, accumulate (parts of a batch), pretrained
    ("" or what `alcore.encoder.pretrained.read` takes).
    Raises EncoderRejectedError with the numbers when the self-test fails, Preempted when asked to stop.
    """
    import numpy as np

    from alcore.encoder import pool as pools
    from alcore.encoder import pooling, selftest
    from alcore.encoder.embed import Embedder
    from alcore.encoder.slices import centre_crops, read_limit_px
    from alcore.encoder.standardise import Standardisation

    kind, seed, count = params["kind"], int(params["seed"]), int(params["max_slices"])
    slice_pooling = params.get("pooling", "mean")
    if kind not in KINDS:
        raise PermanentError(f"encoder kind {kind!r} does not exist; choose one of {', '.join(KINDS)}")
    pooling.check(slice_pooling)
    if count < 1:
        raise PermanentError(f"encoder max_slices is {count}; it must be at least 1")
    pool = [
        pools.PoolVolume.of(volume.path, source.path, read)
        for volume, source, read in zip(inputs["volume"], inputs["source"], params["read"], strict=True)
    ]
    read_px = read_limit_px(ctx.ram_bytes)

    def stored(px: int, count: int) -> StoredSlices:
        return pools.stored_slices(pool, count, px, seed, ctx.scratch, lambda done, n: _reading(done, n, ctx), read_px)

    made: dict[str, Any] = {}
    if kind == "descriptor":
        features = _descriptor(params, pool)
        slices = stored(features.image_px, min(count, STANDARDISE_ON))
    else:
        features, made, slices = _trained(params, pool, stored, count, ctx)
    with closing(slices):
        some = np.arange(0, len(slices), max(1, len(slices) // STANDARDISE_ON))
        middle = centre_crops(slices[some], features.image_px)

    ctx.progress(1.0, "self-test")
    rng = np.random.default_rng([seed, len(slices)])
    standardisation = Standardisation.measured(features, middle, rng)
    if slice_pooling == "mean_std":
        standardisation = standardisation.with_spread(_spreads(features, pool, read_px))
    embedder = Embedder(features, standardisation, slice_pooling)
    images = pools.selftest_images(pool, features.image_px, selftest.WANTED_SLICES, selftest.MOST_SLICES, read_px)
    tested = selftest.measure(embedder.images, images, rng)
    if tested.failures:
        learned = f"loss {made['loss_first']:.3f} -> {made['loss_last']:.3f}, " if made else ""
        raise EncoderRejectedError(
            f"the {kind} of {len(pool)} volumes failed its self-test and must not select: "
            f"{'; '.join(tested.failures)} ({learned}{tested.n_slices} slices)",
            {"selftest": tested.to_json()},
        )
    about = {k: v for k, v in params.items() if k != "read"}
    embedder.save(out, {"training": {**about, "n_slices": len(slices), **made}, "versions": _versions()})
    (out / "selftest.json").write_text(json.dumps(tested.to_json(), indent=1, allow_nan=False))
    return {
        "kind": kind,
        "size": params.get("size", kind) if kind == "mae" else kind,
        "dim": embedder.dim,
        "image_px": features.image_px,
        "pooling": slice_pooling,
        "n_slices": len(slices),
        "selftest": tested.to_json(),
        **{name: value for name, value in made.items() if name != "losses"},
    }


def _descriptor(params: Params, pool: list[PoolVolume]) -> Features:
    """Features without weights, for the pool's channels and patches."""
    from alcore.encoder import pool as pools
    from alcore.encoder.descriptor import Descriptor

    wanted = int(params["image_px"])
    if wanted < 2 * DESCRIPTOR_STEP_PX or wanted % DESCRIPTOR_STEP_PX:
        raise PermanentError(
            f"encoder image_px is {wanted}; of a descriptor it must be a multiple of {DESCRIPTOR_STEP_PX}, at least "
            f"{2 * DESCRIPTOR_STEP_PX}"
        )
    return Descriptor(pools.channels_of(pool), pools.working_px(pool, wanted, DESCRIPTOR_STEP_PX))


def _trained(
    params: Params, pool: list[PoolVolume], stored: Callable[[int, int], StoredSlices], count: int, ctx: Context
) -> tuple[Features, dict[str, Any], StoredSlices]:
    """A trained masked autoencoder: its features, what there is to tell of its training, and the slices that it saw."""
    import torch

    from alcore.encoder import pool as pools
    from alcore.encoder import pretrained
    from alcore.encoder.design import Design
    from alcore.encoder.training import Schedule, train
    from alcore.encoder.vit import ViTFeatures

    torch.set_num_threads(ctx.threads)
    wanted_px, size = int(params["image_px"]), params["size"]
    token_px = 8 if wanted_px < FINE_TOKENS_BELOW_PX else 16
    shape = (size, pools.channels_of(pool), token_px, pools.working_px(pool, wanted_px, token_px))
    design = Design.of(*shape)
    schedule = Schedule(
        epochs=int(params["epochs"]),
        warmup_epochs=int(params["warmup_epochs"]),
        base_lr=float(params["base_lr"]),
        weight_decay=float(params["weight_decay"]),
        mask_ratio=float(params["mask_ratio"]),
        batch=int(params["batch"]),
        seed=int(params["seed"]),
        accumulate=int(params.get("accumulate", 1)),
    )
    schedule.validate(design)
    initial = None
    made: dict[str, Any] = {}
    if params.get("pretrained"):
        ctx.progress(0.0, f"reading the weights of {params['pretrained']}")
        found = pretrained.read(params["pretrained"], design)
        design = Design.of(*shape, table_grid=found.table_grid)
        initial = found.fitted(design)
        made["pretrained"] = {"source": params["pretrained"], "digest": pretrained.digest(initial)}
    slices = stored(design.image_px, count)
    try:
        encoder, losses = train(slices, design, schedule, ctx, initial)
    except BaseException:
        slices.close()
        raise
    made |= {"token_px": design.token_px, "loss_first": losses[0], "loss_last": losses[-1], "losses": losses}
    return ViTFeatures(encoder, ctx.device), made, slices


def _spreads(features: Features, pool: list[PoolVolume], read_px: int) -> NDArray[np.float64]:
    """How much the features of a patch's slices differ, (patches of several slices, features.dim)."""
    import numpy as np

    from alcore.encoder import pool as pools
    from alcore.encoder.pooling import SliceMoments

    rows, found = [], []
    for row, image in pools.slices_of_patches(pool, features.image_px, SPREAD_ON, read_px):
        rows.append(row)
        found.append(features(image[None])[0])
    moments = SliceMoments(max(rows) + 1, features.dim, "mean_std")
    moments.add(rows, np.stack(found))
    return moments.spread()[moments.several()]


def _reading(done: int, count: int, ctx: Context) -> None:
    if ctx.should_stop():
        raise Preempted("stopped while training slices were read; they are read again")
    if done % 64 == 0:
        ctx.progress(0.0, f"reading training slices, {done} of {count}")


def _versions() -> dict[str, str]:
    """Of the libraries that features depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "timm", "numpy", "scipy")}


STAGE = Stage("encoder", 2, run, long=True, isolated=True, preemptible=True, checkpoint="encoder-checkpoint.pt")
