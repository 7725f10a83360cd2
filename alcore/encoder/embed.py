"""From patches to unit vectors: deterministic, nothing masked, shuffled or augmented. Imports torch: import it lazily."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from alcore.encoder.design import Design
from alcore.encoder.mae import Encoder
from alcore.encoder.resample import resample
from alcore.encoder.slices import READ_LIMIT_PX, patch_windows, read_windows
from alcore.encoder.standardise import Standardisation
from alcore.errors import PermanentError
from alcore.types import Box, IntensityStats
from alcore.volumes.port import VolumeReader

WEIGHTS = "encoder.safetensors"
DESCRIPTION = "encoder.json"
BATCH = 64
FLIPS = ((), (2,), (3,), (2, 3))
"""The four mirror images of an (N, C, H, W) batch, as axes to flip."""


class Embedder:
    """A trained encoder, ready to embed patches of any volume with its number of channels."""

    def __init__(self, encoder: Encoder, standardisation: Standardisation, device: str) -> None:
        self.encoder = encoder.to(device).eval()
        self.standardisation = standardisation
        self.device = device

    @property
    def design(self) -> Design:
        """Shape of the encoder and of its images."""
        return self.encoder.design

    def images(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, dim) of images (N, C, image_px, image_px) that are normalised already."""
        return self.standardisation.unit(pooled(self.encoder, images, self.device))

    def patches(
        self,
        reader: VolumeReader,
        boxes: Sequence[Box],
        stats: Sequence[IntensityStats],
        tick: Callable[[int], None],
        read_px: int = READ_LIMIT_PX,
    ) -> NDArray[np.float32]:
        """Unit vectors (len(boxes), dim) of patches of one volume, in the order of `boxes`.

        Of each patch at most `SLICES_PER_PATCH` evenly spaced slices are read, normalised with the volume's `stats`,
        resampled whole to image_px x image_px (a patch that is not square is stretched), encoded, averaged over tokens,
        then over slices; then standardised (see `Standardisation`) and scaled to length 1. Memory does not grow with the volume.
        `tick` is called with the number of slices just embedded, and may raise to stop.
        read_px: see `read_windows`.
        """
        px = self.design.image_px
        windows = [(row, w) for row, box in enumerate(boxes) for w in patch_windows(box)]
        total = np.zeros((len(boxes), self.design.dim))
        count = np.bincount([row for row, _ in windows], minlength=len(boxes))
        rows: list[int] = []
        images: list[NDArray[np.float32]] = []

        def flush() -> None:
            if rows:
                np.add.at(total, rows, pooled(self.encoder, np.stack(images), self.device))
                tick(len(rows))
                rows.clear()
                images.clear()

        for i, image in read_windows(reader, [w for _, w in windows], stats, read_px):
            rows.append(windows[i][0])
            images.append(resample(image, px, px))
            if len(rows) == BATCH:
                flush()
        flush()
        return self.standardisation.unit(total / count[:, None])

    def save(self, out: Path, about: Mapping[str, Any]) -> None:
        """Write the weights (safetensors) and `encoder.json`: design, standardisation and `about` (how it was trained)."""
        weights = {k: v.detach().cpu().contiguous() for k, v in self.encoder.state_dict().items()}
        save_file(weights, out / WEIGHTS)
        description = {
            "design": self.design.to_json(),
            "standardisation": self.standardisation.to_json(),
            **about,
        }
        (out / DESCRIPTION).write_text(json.dumps(description, indent=1, allow_nan=False))

    @classmethod
    def load(cls, directory: Path, device: str) -> Embedder:
        """Inverse of `save`. Raises PermanentError, naming the folder, when the files do not fit together."""
        try:
            description = json.loads((directory / DESCRIPTION).read_text())
            encoder = Encoder(Design.from_json(description["design"]))
            encoder.load_state_dict(load_file(directory / WEIGHTS))
            standardisation = Standardisation.from_json(description["standardisation"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as e:
            raise PermanentError(
                f"{directory}: not a readable encoder ({type(e).__name__}: {e}); train it again"
            ) from e
        return cls(encoder, standardisation, device)


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
