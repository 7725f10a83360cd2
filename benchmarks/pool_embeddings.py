"""Embeddings of a labelled pool by several encoders: the descriptor, a ViT with random weights, trained masked autoencoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.labelled_pools import Pool

ENCODERS = ("descriptor", "random_vit", "mae_micro", "mae_tiny")
TRAINING = {
    "image_px": 64,
    "epochs": 60,
    "warmup_epochs": 6,
    "base_lr": 4e-3,
    "weight_decay": 0.05,
    "mask_ratio": 0.75,
    "batch": 64,
    "max_slices": 1536,
    "seed": 0,
    "accumulate": 1,
    "pooling": "mean",
    "pretrained": "",
}
"""A schedule for one CPU core: minutes. The learning rate of a batch of 64 is that of the paper's 256 at 1e-3."""


def embeddings(pool: Pool, encoder: str) -> npt.NDArray[np.float32]:
    """Unit vectors (N, D) of all patches of the pool, through the stages `encoder` and `embedding`.

    The encoder sees the slices of the whole image, those of the test region too: they have no labels, and a lab would
    have acquired them as well.
    """
    if encoder == "random_vit":
        return _random_vit(pool)
    kind, _, size = encoder.partition("_")
    params = {**TRAINING, "read": [{}], "kind": kind, "size": size or "descriptor"}
    inputs = {"volume": [pool.volume], "source": [pool.source]}
    made = pool.made("encoder", inputs, params)
    vectors = pool.made("embedding", {**inputs, "encoder": [made]}, {"read": {}})
    return np.load(vectors.path / "embeddings.npy")


def _random_vit(pool: Pool) -> npt.NDArray[np.float32]:
    """As a masked autoencoder of size tiny, but as it is before training."""
    import torch

    from alcore.encoder.design import Design
    from alcore.encoder.embed import Embedder
    from alcore.encoder.mae import Encoder
    from alcore.encoder.pool import PoolVolume, selftest_images
    from alcore.encoder.standardise import Standardisation
    from alcore.encoder.vit import ViTFeatures
    from alcore.volumes import open_volume

    torch.manual_seed(0)
    volume = PoolVolume.of(pool.volume.path, pool.source.path, {})
    px = min(TRAINING["image_px"], -(-volume.longest_px // 8) * 8)  # type: ignore[type-var, operator]
    features = ViTFeatures(Encoder(Design.of("tiny", 1, 8, int(px))), "cpu")
    images = selftest_images([volume], int(px), 256, 256)
    standardisation = Standardisation.measured(features, images, np.random.default_rng(0))
    with open_volume(pool.source.path) as reader:
        embedder = Embedder(features, standardisation)
        return embedder.patches(reader, volume.patches, volume.info.stats, lambda n: None).vectors


def cached(pool: Pool, encoder: str, cache: Path) -> npt.NDArray[np.float32]:
    """`embeddings`, kept in a file beside the results, so that a run that goes on sees the same vectors."""
    path = cache / f"{pool.image.name}-{'x'.join(map(str, pool.image.patch_px))}-{encoder}.npy"
    if not path.exists():
        vectors = embeddings(pool, encoder)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return np.load(path)
