"""The volumes that an encoder is trained on: their training slices, stored once, and the slices of its self-test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import slices as cutting
from alcore.encoder.resample import resample
from alcore.errors import PermanentError
from alcore.types import Box, VolumeInfo
from alcore.volumes import open_volume

T = TypeVar("T")

STORED = "training-slices.npy"


@dataclass(frozen=True)
class PoolVolume:
    """One volume of the pool: what is known of it, its patches, and how to read its voxels."""

    info: VolumeInfo
    patches: tuple[Box, ...]
    source: Path
    read: Mapping[str, Any]

    @classmethod
    def of(cls, artifact: Path, source: Path, read: Mapping[str, Any]) -> PoolVolume:
        """From the folder of a `volume` artifact. Raises PermanentError for one without patches."""
        info = VolumeInfo.from_json(json.loads((artifact / "info.json").read_text()))
        patches = tuple(Box.from_json(p) for p in json.loads((artifact / "patches.json").read_text()))
        if not patches:
            raise PermanentError(f"{artifact}: the volume has no patches; make the patch smaller than the volume")
        return cls(info, patches, source, read)


def channels_of(pool: Sequence[PoolVolume]) -> int:
    """C, the same for all. Raises PermanentError when volumes differ or there are none."""
    if not pool:
        raise PermanentError("an encoder needs at least one volume to train on")
    counts = {v.info.shape[0]: v.source.name for v in pool}
    if len(counts) > 1:
        named = ", ".join(f"{c} in {name}" for c, name in sorted(counts.items()))
        raise PermanentError(
            f"volumes differ in their number of channels ({named}); choose `channels` in the read options"
        )
    return pool[0].info.shape[0]


def working_px(pool: Sequence[PoolVolume], image_px: int, token_px: int) -> int:
    """image_px, or the longest in-plane edge of a patch in whole tokens if that is smaller: patches are not enlarged."""
    longest = max(max(p.shape[1:]) for v in pool for p in v.patches)
    return min(image_px, max(2, -(-longest // token_px)) * token_px)


def stored_slices(
    pool: Sequence[PoolVolume], count: int, px: int, seed: int, scratch: Path, tick: Callable[[int, int], None]
) -> NDArray[np.float16]:
    """Training slices (count, C, side, side) float16, side = `cutting.stored_px(px)`, memory-mapped from `scratch`.

    Drawn at random from all volumes in proportion to their number of patches, at least one each; only they are read. A
    finished file of an earlier attempt is used again. `tick(done, count)` is called once per slice and may raise to stop.
    """
    side = cutting.stored_px(px)
    numbers = cutting.shares([len(v.patches) for v in pool], count)
    shape = (sum(numbers), pool[0].info.shape[0], side, side)
    path = scratch / STORED
    if path.exists():
        found: NDArray[np.float16] = np.load(path, mmap_mode="r")
        if found.shape == shape:
            return found
    unfinished = scratch / f"unfinished-{STORED}"
    out = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float16, shape=shape)
    first = done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        tick(done, shape[0])

    for index, (volume, number) in enumerate(zip(pool, numbers, strict=True)):
        patch_yx = volume.patches[0].shape[1:]
        windows = cutting.training_windows(volume.info.zyx, patch_yx, number, np.random.default_rng([seed, index]))
        with open_volume(volume.source, volume.read) as reader:
            cutting.fill_slices(out[first : first + number], reader, windows, volume.info.stats, patch_yx, px, one_more)
        first += number
    out.flush()
    del out
    os.replace(unfinished, path)
    stored: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return stored


def selftest_images(pool: Sequence[PoolVolume], px: int, want: int, most: int) -> NDArray[np.float32]:
    """Different slices of the pool's patches (n, C, px, px), `want` if there are so many, about `most` in a large pool."""
    images = []
    volumes = _evenly(pool, most)
    for volume in volumes:
        patches = _evenly(volume.patches, -(-most // len(volumes)))
        windows = cutting.selftest_windows(patches, -(-want // len(volumes)))
        with open_volume(volume.source, volume.read) as reader:
            for _, image in cutting.read_windows(reader, windows, volume.info.stats):
                images.append(resample(image, px, px))
    return np.stack(images)


def _evenly(values: Sequence[T], most: int) -> list[T]:
    """At most `most` values, evenly spaced."""
    n = min(most, len(values))
    return [values[(2 * i + 1) * len(values) // (2 * n)] for i in range(n)]
