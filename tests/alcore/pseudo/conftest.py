"""Volumes in memory and a context that can be told to stop, for every test of pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.arrays.normalise import StatsStream
from alcore.pseudo import backend
from alcore.pseudo.port import PseudoLabels
from alcore.run import QuietContext
from alcore.types import Box, IntensityStats, VolumeInfo, VoxelSize
from alcore.volumes import VolumeReader

Image = np.ndarray[Any, Any]
Label = Callable[..., tuple[Image, PseudoLabels]]


class ArrayVolume(VolumeReader):
    """A volume that is an array (C, Z, Y, X); counts the voxels read."""

    def __init__(self, image: Image, voxel_um: VoxelSize | None) -> None:
        self.image, self.path, self.voxel_um = image, Path("array"), voxel_um
        c, z, y, x = image.shape
        self.shape, self.dtype, self.voxels_read = (c, z, y, x), image.dtype, 0

    def _read(self, box: Box) -> Image:
        self.voxels_read += box.voxels
        return self.image[(slice(None), *box.slices)].copy()

    def close(self) -> None:
        """Nothing to release."""


class StoppableContext(QuietContext):
    """Stops when asked for the `stop_at`-th time."""

    stop_at: int | None = None
    asked: int = 0

    def should_stop(self) -> bool:
        """True from the chosen time on."""
        self.asked += 1
        return self.stop_at is not None and self.asked >= self.stop_at


def describe(image: Image, voxel_um: VoxelSize | None) -> VolumeInfo:
    """VolumeInfo of an array (C, Z, Y, X)."""
    stats = []
    for channel in image:
        stream = StatsStream(image.dtype, np.random.default_rng(0))
        stream.add(channel)
        stats.append(stream.result() if stream.n else IntensityStats(0, 0, 0, 0, 0, 0))
    c, z, y, x = image.shape
    source = "unknown" if voxel_um is None else "file"
    return VolumeInfo("00", (c, z, y, x), str(image.dtype), voxel_um, source, tuple(stats))


@pytest.fixture
def ctx(tmp_path: Path) -> StoppableContext:
    return StoppableContext(tmp_path / "scratch", tmp_path / "cache")


@pytest.fixture
def label(ctx: StoppableContext) -> Label:
    """A function (image, voxel_um, backend name, options) -> (labels, what the backend says of them)."""

    def run(
        image: Image, voxel_um: VoxelSize | None = (1.0, 1.0, 1.0), name: str = "threshold", **options: Any
    ) -> tuple[Image, PseudoLabels]:
        if image.ndim == 3:
            image = image[None]
        labels = np.zeros(image.shape[1:], np.uint32)
        voxel_um = options.pop("_voxel_um", voxel_um)
        volume = ArrayVolume(image, voxel_um)
        model = options.pop("_model", None)
        said = backend(name, options, model).label(volume, describe(image, voxel_um), labels, ctx)
        ctx.voxels_read = volume.voxels_read  # type: ignore[attr-defined]
        return labels, said

    return run


@pytest.fixture(scope="session")
def phantom() -> Callable[..., tuple[Image, Image]]:
    """A function (shape, radius, bright, seed, n) -> (image float32 with noise, truth): balls, one pair in contact."""

    def make(
        shape: tuple[int, int, int], radius: float = 7.0, bright: bool = True, seed: int = 0, n: int = 8
    ) -> tuple[Image, Image]:
        rng = np.random.default_rng(seed)
        axes = np.stack(np.meshgrid(*(np.arange(k) for k in shape), indexing="ij"))
        truth = np.zeros(shape, np.uint32)
        flat = np.array([1.0, 1.0, 1.0]) if shape[0] > 1 else np.array([0.0, 1.0, 1.0])
        centres: list[Image] = []
        for _ in range(1000):
            centre = rng.uniform(0, 1, 3) * (np.array(shape) - 1)
            centre[0] = 0 if shape[0] == 1 else centre[0]
            if all(np.linalg.norm((centre - c) * flat) > 2.6 * radius for c in centres):
                centres.append(centre)
        if len(centres) >= n:
            centres = centres[:n]
        for i, centre in enumerate(centres, 1):
            inside = sum((axes[k] - centre[k]) ** 2 for k in range(3)) <= radius**2
            truth[inside & (truth == 0)] = i
        image = (np.where(truth > 0, 160.0, 60.0) if bright else np.where(truth > 0, 60.0, 160.0)).astype(np.float32)
        return image + rng.normal(0, 15, shape).astype(np.float32), truth

    return make
