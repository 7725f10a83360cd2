"""Features of a trained ViT: every token, every mirror image, nothing masked or shuffled. Imports torch: import it lazily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from alcore.artifact import as_written
from alcore.encoder.mae import Encoder

KIND = "mae"
WEIGHTS = "encoder.safetensors"
BATCH = 64
FLIPS = ((), (2,), (3,), (2, 3))
"""The four mirror images of an (N, C, H, W) batch, as axes to flip."""


class ViTFeatures:
    """See `alcore.encoder.features.Features`."""

    kind = KIND

    def __init__(self, encoder: Encoder, device: str) -> None:
        self.encoder = encoder.to(device).eval()
        self.device = device

    @property
    def channels(self) -> int:
        """C of the images."""
        return self.encoder.design.channels

    @property
    def image_px(self) -> int:
        """Edge of the images."""
        return self.encoder.design.image_px

    @property
    def dim(self) -> int:
        """Width of the ViT."""
        return self.encoder.design.dim

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, dim) of images (N, C, H, W); see `pooled`."""
        return pooled(self.encoder, images, self.device)

    def to_json(self) -> dict[str, Any]:
        """The design."""
        return self.encoder.design.to_json()

    def save(self, out: Path) -> None:
        """Write the weights (safetensors)."""
        weights = {k: v.detach().cpu().contiguous() for k, v in self.encoder.state_dict().items()}
        save_file(weights, out / WEIGHTS)

    @classmethod
    def load(cls, encoder: Encoder, directory: Path, device: str) -> ViTFeatures:
        """With the weights that `save` wrote. Raises RuntimeError or SafetensorError when they do not fit."""
        as_written(directory, WEIGHTS)
        encoder.load_state_dict(load_file(directory / WEIGHTS))
        return cls(encoder, device)


def pooled(encoder: Encoder, images: NDArray[np.float32], device: str) -> NDArray[np.float32]:
    """Features (N, dim) float32 of images (N, C, H, W): the mean over all tokens of the image and its three mirror images.

    Position codes make a ViT's features depend on orientation, which says nothing about what a patch teaches; the mean over
    the four mirror images is the same for all of them. Eval mode, float32, in batches.
    """
    encoder.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).to(device)
            views = [encoder(batch.flip(axes)).mean(dim=1) for axes in FLIPS]
            parts.append(torch.stack(views).mean(dim=0).cpu().numpy())
    result: NDArray[np.float32] = np.concatenate(parts)
    return result
