"""Params of the encoders that are compared: the descriptor, a ViT as it is before training, trained masked autoencoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODERS = ("descriptor", "random_vit", "mae_micro", "mae_tiny")
TRAINING: Mapping[str, Any] = {
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
UNTRAINED = {"epochs": 2, "warmup_epochs": 1, "base_lr": 1e-12, "weight_decay": 0.0, "max_slices": 128}
"""Steps so small that the weights stay as they were drawn."""


def params(encoder: str) -> dict[str, Any]:
    """Params of stage `encoder`, without `read`, for a name of `ENCODERS`."""
    if encoder == "descriptor":
        return {name: TRAINING[name] for name in ("image_px", "max_slices", "pooling", "seed")} | {"kind": "descriptor"}
    if encoder == "random_vit":
        return {**TRAINING, **UNTRAINED, "kind": "mae", "size": "tiny"}
    kind, _, size = encoder.partition("_")
    return {**TRAINING, "kind": kind, "size": size}
