"""One sweep over an acquisition file: its hash and its intensity statistics from the same bytes, in flat memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alcore.arrays.normalise import StatsStream
from alcore.errors import SourceChangedError, SourceMissingError, UnreadableVolumeError
from alcore.types import Box, IntensityStats
from alcore.volumes.port import Array, VolumeReader

BLOCK_BYTES = 32 << 20
"""Decoded voxels held at a time."""
READ_BYTES = 4 << 20
LEAST_PX = 8
"""A slice that is shorter or narrower is no image to segment."""
ABSURD = 1e30
"""Larger magnitudes are no intensities, and float32 arithmetic on them overflows."""

Fingerprint = Mapping[str, int]


def fingerprint(path: Path) -> dict[str, int]:
    """What changes when a file is replaced or written to: dev, ino, size and mtime_ns. Raises SourceMissingError."""
    try:
        found = os.stat(path)
    except OSError as e:
        raise SourceMissingError(f"{path}: cannot be reached now ({e.strerror})") from e
    return {"dev": found.st_dev, "ino": found.st_ino, "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def same_file(path: Path, expected: Fingerprint) -> None:
    """Raise SourceChangedError when `path` is no longer the file with this fingerprint."""
    now = fingerprint(path)
    changed = [key for key in now if now[key] != expected[key]]
    if changed:
        raise SourceChangedError(
            f"{path}: changed since it was found complete ({', '.join(changed)}); it arrives again"
        )


@dataclass(frozen=True)
class Swept:
    """What one sweep found. middle: (C, Y, X) of the middle slice. notes: what a person should know."""

    sha256: str
    stats: tuple[IntensityStats, ...]
    middle: Array
    notes: tuple[str, ...]


def sweep(
    path: Path, reader: VolumeReader, rng: np.random.Generator, progress: Callable[[float], None] = lambda _: None
) -> Swept:
    """Hash the file and measure every voxel, block by block in file order.

    The hash is kept level with the decoded slices, so that each byte comes from the disk once and from the page cache
    the second time. NaN and infinities are left out of the statistics, and a note counts them. Raises
    UnreadableVolumeError when nothing varies, nothing is finite, values are absurd or slices are tiny.
    """
    if min(reader.shape[2:]) < LEAST_PX:
        raise UnreadableVolumeError(f"{path}: slices of {reader.shape[2]} x {reader.shape[3]} pixels are no image")
    streams = [StatsStream(reader.dtype, rng) for _ in range(reader.shape[0])]
    digest, hashed = hashlib.sha256(), 0
    n_slices, middle = reader.shape[1], None
    last_used = -1
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        for box, done in _blocks(reader):
            hashed = _hash_until(path, f.fileno(), digest, hashed, int(size * done))
            block = reader.read_as_stored(box)
            with np.errstate(over="ignore", invalid="ignore"):  # absurd values are judged at the end
                for stream, channel in zip(streams, block, strict=True):
                    stream.add(channel)
            for z in range(box.shape[0]):
                if box.start[0] + z > last_used and block[:, z].any():
                    last_used = box.start[0] + z
            if box.start[0] <= n_slices // 2 < box.stop[0]:
                if middle is None:
                    middle = np.zeros((reader.shape[0], *reader.shape[2:]), reader.dtype)
                rows = slice(box.start[1], box.stop[1])
                middle[:, rows] = np.nan_to_num(block[:, n_slices // 2 - box.start[0]], posinf=0.0, neginf=0.0)
            progress(done)
        hashed = _hash_until(path, f.fileno(), digest, hashed, size)
    assert middle is not None  # the blocks cover the volume
    stats, notes = _judged(path, reader, streams)
    if last_used + 1 < n_slices:
        notes.append(f"the last {n_slices - 1 - last_used} of {n_slices} slices are all zero: was the file complete?")
    return Swept(digest.hexdigest(), stats, middle, tuple(notes))


def _blocks(reader: VolumeReader) -> Iterator[tuple[Box, float]]:
    """Boxes of at most BLOCK_BYTES in file order, with the share of the volume that is done after each."""
    c, n_slices, height, width = reader.shape
    line = c * width * reader.dtype.itemsize
    rows = max(1, min(height, BLOCK_BYTES // line))
    slices = max(1, BLOCK_BYTES // (line * height)) if rows == height else 1
    for z in range(0, n_slices, slices):
        depth = min(slices, n_slices - z)
        for y in range(0, height, rows):
            length = min(rows, height - y)
            done = (z * height + depth * (y + length)) / (n_slices * height)
            yield Box((z, y, 0), (depth, length, width)), done


def _hash_until(path: Path, fd: int, digest: hashlib._Hash, position: int, stop: int) -> int:
    """Hash the bytes from `position` to `stop`; returns the new position."""
    while position < stop:
        part = os.pread(fd, min(READ_BYTES, stop - position), position)
        if not part:
            raise SourceChangedError(f"{path}: became shorter while it was hashed")
        digest.update(part)
        position += len(part)
    return position


def _judged(
    path: Path, reader: VolumeReader, streams: list[StatsStream]
) -> tuple[tuple[IntensityStats, ...], list[str]]:
    """The statistics, or the reason why these intensities are no image."""
    if not any(stream.n for stream in streams):
        raise UnreadableVolumeError(f"{path}: holds no finite value, only NaN or infinities")
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
                f"{path}: {where}values from {found.minimum:.3g} to {found.maximum:.3g} are no intensities"
            )
        if found.percentile_00_5 == found.percentile_99_5 and found.minimum < found.maximum:
            notes.append(f"{where}more than 99 % of the voxels have the value {found.percentile_00_5:g}")
        stats.append(found)
    constant = [index for index, s in enumerate(stats) if s.minimum == s.maximum]
    if len(constant) == len(stats):
        raise UnreadableVolumeError(f"{path}: every voxel has the value {stats[0].minimum:g}: there is nothing to see")
    notes += [f"channel {index} is constant" for index in constant]
    return tuple(stats), notes
