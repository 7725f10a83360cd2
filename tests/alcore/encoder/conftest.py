"""A volume in memory, and slices with structure that a small encoder can learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from alcore.types import Box
from alcore.volumes.port import VolumeReader

Array = np.ndarray[Any, Any]


class MemoryVolume(VolumeReader):
    """A (C, Z, Y, X) array behind the reader port, which remembers every box that was read."""

    def __init__(self, image: Array) -> None:
        self.image = image
        self.path = Path("memory")
        self.shape = image.shape  # type: ignore[assignment]
        self.dtype = image.dtype
        self.voxel_um = None
        self.boxes: list[Box] = []

    def _read(self, box: Box) -> Array:
        self.boxes.append(box)
        return self.image[(slice(None), *box.slices)].copy()

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture
def memory_volume() -> Callable[[Array], MemoryVolume]:
    return MemoryVolume


@pytest.fixture
def textured() -> Callable[..., Array]:
    """(n, C, px, px) float32 slices of unit variance: blobs of different scale and direction, and a little noise."""

    def make(n: int, px: int = 40, channels: int = 1, seed: int = 0) -> Array:
        rng = np.random.default_rng(seed)
        images = np.empty((n, channels, px, px), np.float32)
        for image in images.reshape(n * channels, px, px):
            smooth = ndimage.gaussian_filter(rng.normal(size=(px, px)), rng.uniform(1.5, 5.0, 2), mode="wrap")
            image[...] = smooth / smooth.std() + rng.normal(0, 0.1, (px, px)) + rng.normal(0, 0.5)
        return images

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Results that must be equal bit for bit need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
