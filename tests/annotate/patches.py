"""Suggestions' folders as the stage `package` writes them, made in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from alcore.volumes.writers import write_image_tiff, write_labels_tiff

Array = np.ndarray[Any, Any]


def suggestion(
    folder: Path, shape: tuple[int, int, int] = (4, 64, 64), margin: int = 8, channels: int = 1, seed: int = 0
) -> Path:
    """A patch (z, y, x) of bright balls with `margin` voxels of context in y and x; two balls are in the pseudo-label."""
    rng = np.random.default_rng(seed)
    depth, height, width = shape[0], shape[1] + 2 * margin, shape[2] + 2 * margin
    z, y, x = np.ogrid[:depth, :height, :width]
    pseudo = np.zeros((depth, height, width), np.uint32)
    image = rng.normal(60, 8, (channels, depth, height, width))
    for number, (cy, cx) in enumerate(((0.35, 0.35), (0.7, 0.6)), start=1):
        ball = (y - cy * height) ** 2 + (x - cx * width) ** 2 + 4 * (z - depth // 2) ** 2 < 8**2
        pseudo[ball] = number
        image[:, ball] += 90
    pseudo[:, :margin] = pseudo[:, height - margin :] = 0
    folder.mkdir(parents=True)
    write_image_tiff(folder / "image.tif", image.clip(0, 255).astype(np.uint8), None)
    write_labels_tiff(folder / "pseudo_label.tif", pseudo, pseudo.shape, "uint16", None)
    about = {
        "id": folder.name,
        "box": {"start": [0, 32, 32], "shape": list(shape)},
        "margin": {"before": [0, margin, margin], "after": [0, margin, margin]},
        "image_shape": [depth, height, width],
        "neighbours": [],
    }
    (folder / "suggestion.json").write_text(json.dumps(about))
    return folder
