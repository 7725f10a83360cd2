"""The port of whatever describes an image by numbers: a ViT, or a descriptor without weights."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Features(Protocol):
    """Features of single images, the same for the same image, whatever its company and order."""

    @property
    def kind(self) -> str:
        """ "mae" or "descriptor"."""

    @property
    def channels(self) -> int:
        """C of the images."""

    @property
    def image_px(self) -> int:
        """Edge of the images."""

    @property
    def dim(self) -> int:
        """Numbers per image."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, dim) of normalised images (N, C, image_px, image_px)."""

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it, beside its weights, as plain JSON types."""
