"""The volumes that an encoder is trained on: their training slices, stored once, and the slices of its self-test."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alcore.encoder import slices as cutting
from alcore.encoder.resample import resample
from alcore.encoder.stored import StoredSlices
from alcore.errors import PermanentError
from alcore.types import Box, VolumeInfo
from alcore.volumes import open_volume

T = TypeVar("T")

STORED = "training-slices.raw"


@dataclass(frozen=True)
class PoolVolume:
    """One volume of the pool: what is known of it, and how to read its patches and voxels.

    n_patches: how many. patch_yx: in-plane extent of the first. longest_px: the longest in-plane edge of any.
    """

    info: VolumeInfo
    artifact: Path
    source: Path
    read: Mapping[str, Any]
    n_patches: int
    patch_yx: tuple[int, int]
    longest_px: int

    @classmethod
    def of(cls, artifact: Path, source: Path, read: Mapping[str, Any]) -> PoolVolume:
        """From the folder of a `volume` artifact. Raises PermanentError for one without patches."""
        info = VolumeInfo.from_json(json.loads((artifact / "info.json").read_text()))
        patches = _patches(artifact)
        if not patches:
            raise PermanentError(f"{artifact}: the volume has no patches; make the patch smaller than the volume")
        longest = max(max(patch.shape[1:]) for patch in patches)
        return cls(info, artifact, source, read, len(patches), patches[0].shape[1:], longest)

    @property
    def patches(self) -> list[Box]:
        """Its patches, read when they are asked for: a pool has many more of them than fit into memory."""
        return _patches(self.artifact)


def _patches(artifact: Path) -> list[Box]:
    return [Box.from_json(p) for p in json.loads((artifact / "patches.json").read_text())]


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
    longest = max(v.longest_px for v in pool)
    return min(image_px, max(2, -(-longest // token_px)) * token_px)


def stored_slices(
    pool: Sequence[PoolVolume],
    count: int,
    px: int,
    seed: int,
    scratch: Path,
    tick: Callable[[int, int], None],
    read_px: int = cutting.READ_LIMIT_PX,
) -> StoredSlices:
    """Training slices (count, C, side, side) float16, side = `cutting.stored_px(px)`, in a file in `scratch`.

    Drawn at random from all volumes in proportion to their number of patches, at least one each; only they are read. A
    finished file of an earlier attempt is used again. `tick(done, count)` is called once per slice and may raise to stop.
    read_px: see `cutting.read_windows`.
    """
    side = cutting.stored_px(px)
    numbers = cutting.shares([v.n_patches for v in pool], count)
    shape = (sum(numbers), pool[0].info.shape[0], side, side)
    path = scratch / STORED
    if path.exists() and path.stat().st_size == 2 * math.prod(shape):
        return StoredSlices(path, shape)
    unfinished = scratch / f"unfinished-{STORED}"
    first = done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        tick(done, shape[0])

    with closing(StoredSlices(unfinished, shape)) as out:
        for index, (volume, number) in enumerate(zip(pool, numbers, strict=True)):
            rng = np.random.default_rng([seed, index])
            windows = cutting.training_windows(volume.info.zyx, volume.patch_yx, number, rng)

            def put(row: int, image: NDArray[np.float32], first: int = first) -> None:
                out.put(first + row, image)
                one_more()

            with open_volume(volume.source, volume.read) as reader:
                cutting.fill_slices(put, reader, windows, volume.info.stats, volume.patch_yx, px, read_px)
            first += number
        out.flush()
    os.replace(unfinished, path)
    return StoredSlices(path, shape)


def selftest_images(
    pool: Sequence[PoolVolume], px: int, want: int, most: int, read_px: int = cutting.READ_LIMIT_PX
) -> NDArray[np.float32]:
    """Different slices of the pool's patches (n, C, px, px), `want` if there are so many, about `most` in a large pool."""
    images = []
    volumes = _evenly(pool, most)
    for volume in volumes:
        patches = _evenly(volume.patches, -(-most // len(volumes)))
        windows = cutting.selftest_windows(patches, -(-want // len(volumes)))
        with open_volume(volume.source, volume.read) as reader:
            for _, image in cutting.read_windows(reader, windows, volume.info.stats, read_px):
                images.append(resample(image, px, px))
    return np.stack(images)


def slices_of_patches(
    pool: Sequence[PoolVolume], px: int, most: int, read_px: int = cutting.READ_LIMIT_PX
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(number of the patch, slice (C, px, px)) of about `most` patches, evenly spaced: the slices that embedding reads of them."""
    volumes = _evenly(pool, most)
    first = 0
    for volume in volumes:
        patches = _evenly(volume.patches, -(-most // len(volumes)))
        windows = [(first + row, w) for row, box in enumerate(patches) for w in cutting.patch_windows(box)]
        with open_volume(volume.source, volume.read) as reader:
            for i, image in cutting.read_windows(reader, [w for _, w in windows], volume.info.stats, read_px):
                yield windows[i][0], resample(image, px, px)
        first += len(patches)


def _evenly(values: Sequence[T], most: int) -> list[T]:
    """At most `most` values, evenly spaced."""
    n = min(most, len(values))
    return [values[(2 * i + 1) * len(values) // (2 * n)] for i in range(n)]
