"""One sweep over a volume: intensity statistics, a first look at its quality, and a small picture, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alcore.arrays.normalise import StatsStream
from alcore.errors import UnreadableVolumeError
from alcore.types import Box, IntensityStats
from alcore.volumes.port import Array, VolumeReader
from alcore.volumes.quality import QualityStream

BLOCK_BYTES = 32 << 20
"""Decoded voxels held at a time, at most."""
PICTURE_PX = 1024
"""The middle slice is kept thinned to about so many pixels."""
LEAST_PX = 8
"""A slice that is shorter or narrower is no image to segment."""
ABSURD = 1e30
"""Larger magnitudes are no intensities, and float32 arithmetic on them overflows."""


@dataclass(frozen=True)
class Swept:
    """What one sweep found. middle: (Y, X) of the first channel's middle slice, thinned. notes: what a person should know.
    quality: see `alcore.volumes.quality`."""

    stats: tuple[IntensityStats, ...]
    middle: Array
    notes: tuple[str, ...]
    quality: dict[str, Any]


def sweep(
    path: Path,
    reader: VolumeReader,
    rng: np.random.Generator,
    progress: Callable[[float], None] = lambda _: None,
    block_bytes: int = BLOCK_BYTES,
) -> Swept:
    """Measure every voxel, block by block in file order; `progress` is told the share (0..1) that has been read.

    NaN and infinities are left out of the statistics, and a note counts them. Raises UnreadableVolumeError when nothing
    varies, nothing is finite, values are absurd or slices are tiny.
    """
    if min(reader.shape[2:]) < LEAST_PX:
        raise UnreadableVolumeError(
            f"{path}: slices of {reader.shape[2]} x {reader.shape[3]} pixels are too small to segment; leave it out"
        )
    streams = [StatsStream(reader.dtype, rng) for _ in range(reader.shape[0])]
    n_slices, height, width = reader.shape[1:]
    looks = QualityStream(n_slices)
    step = max(1, max(height, width) // PICTURE_PX)
    middle = np.zeros((-(-height // step), -(-width // step)), reader.dtype)
    last_used = -1
    for box, done in blocks(reader, min(BLOCK_BYTES, block_bytes)):
        block = reader.read_as_stored(box)
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values are judged at the end
            for stream, channel in zip(streams, block, strict=True):
                stream.add(channel)
            looks.add(block, box.start)
        for z in range(box.shape[0] - 1, -1, -1):
            if box.start[0] + z <= last_used:
                break
            if block[:, z].any():
                last_used = box.start[0] + z
        if box.start[0] <= n_slices // 2 < box.stop[0]:
            first = -box.start[1] % step
            thinned = block[0, n_slices // 2 - box.start[0], first::step, ::step]
            at = (box.start[1] + first) // step
            middle[at : at + thinned.shape[0]] = np.nan_to_num(thinned, posinf=0.0, neginf=0.0)
        progress(done)
    stats, notes = _judged(path, reader, streams)
    if last_used + 1 < n_slices:
        notes.append(f"the last {n_slices - 1 - last_used} of {n_slices} slices are all zero: was the file complete?")
    quality = looks.result(
        stats,
        [_saturated(stream, s) for stream, s in zip(streams, stats, strict=True)],
        lambda a, b: _equal(reader, a, b, min(BLOCK_BYTES, block_bytes)),
    )
    return Swept(stats, middle, tuple(notes), quality)


def blocks(reader: VolumeReader, block_bytes: int) -> Iterator[tuple[Box, float]]:
    """Boxes of at most `block_bytes` in file order, with the share of the volume that is done after each."""
    c, n_slices, height, width = reader.shape
    line = c * width * reader.dtype.itemsize
    rows = max(1, min(height, block_bytes // line))
    slices = max(1, block_bytes // (line * height)) if rows == height else 1
    deep = reader.chunk_slices
    if slices > deep > 1:
        slices = slices // deep * deep  # whole layers of chunks: each is decoded once
    for z in range(0, n_slices, slices):
        depth = min(slices, n_slices - z)
        for y in range(0, height, rows):
            length = min(rows, height - y)
            done = (z * height + depth * (y + length)) / (n_slices * height)
            yield Box((z, y, 0), (depth, length, width)), done


def _saturated(stream: StatsStream, stats: IntensityStats) -> float | None:
    """Share of voxels at the highest value, where that is the end of a range (of the dtype, or of 10, 12 or 14 bits)."""
    ends = {2.0**bits - 1 for bits in (7, 8, 10, 12, 14, 15, 16)}
    return stream.share_of(stats.maximum) if stats.maximum in ends else 0.0 if stream.share_of(0) is not None else None


def _equal(reader: VolumeReader, a: int, b: int, block_bytes: int) -> bool:
    """Are two slices identical?"""
    height, width = reader.shape[2:]
    rows = max(1, min(height, block_bytes // (reader.shape[0] * width * reader.dtype.itemsize)))
    for y in range(0, height, rows):
        shape = (1, min(rows, height - y), width)
        one, other = (reader.read_as_stored(Box((z, y, 0), shape)) for z in (a, b))
        if not np.array_equal(one, other, equal_nan=reader.dtype.kind == "f"):
            return False
    return True


def _judged(
    path: Path, reader: VolumeReader, streams: list[StatsStream]
) -> tuple[tuple[IntensityStats, ...], list[str]]:
    """The statistics, or the reason why these intensities are no image."""
    if not any(stream.n for stream in streams):
        raise UnreadableVolumeError(
            f"{path}: holds no finite value, only NaN or infinities; save it again, or leave it out"
        )
    notes, stats = [], []
    voxels = reader.shape[1] * reader.shape[2] * reader.shape[3]
    for index, stream in enumerate(streams):
        where = f"channel {index}: " if len(streams) > 1 else ""
        if not stream.n:
            raise UnreadableVolumeError(f"{path}: {where}holds no finite value; leave it out with read option channels")
        odd = stream.n_nan + stream.n_infinite
        if odd:
            notes.append(f"{where}{odd} of {voxels} values are NaN or infinite: read as 0, left out of the statistics")
        found = stream.result()
        if max(abs(found.minimum), abs(found.maximum)) > ABSURD:
            raise UnreadableVolumeError(
                f"{path}: {where}values from {found.minimum:.3g} to {found.maximum:.3g} are no intensities; "
                "save it again"
            )
        if found.percentile_00_5 == found.percentile_99_5 and found.minimum < found.maximum:
            notes.append(f"{where}more than 99 % of the voxels have the value {found.percentile_00_5:g}")
        stats.append(found)
    constant = [index for index, s in enumerate(stats) if s.minimum == s.maximum]
    if len(constant) == len(stats):
        raise UnreadableVolumeError(
            f"{path}: every voxel has the value {stats[0].minimum:g}: there is nothing to see; leave it out"
        )
    notes += [f"channel {index} is constant" for index in constant]
    return tuple(stats), notes
