"""Which slices are read from a volume, and reading them with no more memory than one slice, however large the volume is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alcore.arrays import normalise
from alcore.encoder.resample import resample
from alcore.types import Box, IntensityStats
from alcore.volumes.port import VolumeReader

SLICES_PER_PATCH = 8
"""At most so many slices of a patch are embedded, evenly spaced: neighbouring EM slices say nearly the same."""

CROP_MARGIN = 1.25
"""A training slice is stored this much larger than the encoder's image, so that a random crop has room."""

SELFTEST_GAP_PX = 4
"""Slices of one patch that the self-test compares lie at least so far apart."""

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it modulo 1 are spread evenly however many there are."""

READ_LIMIT_PX = 1 << 24
"""Windows of one z are read together while the area around them stays below this (64 MB as float32)."""

READ_BYTES_PER_PX = 64
"""What a stage needs of memory to read so much at a time: an eighth of it is for the pixels, of at most 8 bytes."""


@dataclass(frozen=True)
class Window:
    """A rectangle in one slice of a volume: z, first (y, x) and extent (h, w), in voxels."""

    z: int
    y: int
    x: int
    h: int
    w: int


def patch_windows(box: Box, most: int = SLICES_PER_PATCH) -> list[Window]:
    """The whole slices of a patch that are embedded: at most `most`, at the middles of equal shares of its depth."""
    (z, y, x), (d, h, w) = box.start, box.shape
    n = min(d, most)
    return [Window(z + (2 * i + 1) * d // (2 * n), y, x, h, w) for i in range(n)]


def training_windows(
    zyx: tuple[int, int, int], patch_yx: tuple[int, int], count: int, rng: np.random.Generator
) -> list[Window]:
    """`count` random windows of a volume (Z, Y, X), a patch's in-plane size plus `CROP_MARGIN` (less in a smaller volume)."""
    depth, *extent = zyx
    h, w = (min(e, round(p * CROP_MARGIN)) for e, p in zip(extent, patch_yx, strict=True))
    z = rng.integers(depth, size=count)
    y = rng.integers(extent[0] - h + 1, size=count)
    x = rng.integers(extent[1] - w + 1, size=count)
    return [Window(int(a), int(b), int(c), h, w) for a, b, c in zip(z, y, x, strict=True)]


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """Share out `total` in proportion to `sizes`, at least one each: [1, 3] and 8 give [2, 6]."""
    ends = np.round(np.cumsum(sizes) / sum(sizes) * total).astype(int)
    return [max(1, int(n)) for n in np.diff(ends, prepend=0)]


def selftest_windows(patches: Sequence[Box], want: int) -> list[Window]:
    """At least `want` different windows for the self-test if the patches hold so many, and not many more.

    One slice of each patch; with few patches more slices of each, `SELFTEST_GAP_PX` or more apart because neighbours are
    nearly equal; then quarters, and at last sixteenths, of those slices. Each patch is cut at a depth of its own, by the
    golden ratio: slices differ in focus and noise, and what all slices of one z share would look like a collapse.
    """
    found: list[Window] = []
    for split in (1, 2, 4):
        most = -(-want // (len(patches) * split**2))
        found = [
            part
            for i, patch in enumerate(patches)
            for whole in _at_depth(patch, max(1, min(most, patch.shape[0] // SELFTEST_GAP_PX)), (i + 0.5) * GOLDEN % 1)
            for part in _split(whole, split)
        ]
        if len(found) >= want:
            break
    return found


def _at_depth(box: Box, n: int, share: float) -> list[Window]:
    """`n` whole slices of a patch, each after the same share (0..1) of one of n equal parts of its depth."""
    (z, y, x), (d, h, w) = box.start, box.shape
    return [Window(z + int((i + share) * d / n), y, x, h, w) for i in range(n)]


def _split(window: Window, n: int) -> list[Window]:
    """The n x n equal parts of a window (the last pixels are left out if they do not divide)."""
    h, w = window.h // n, window.w // n
    return [Window(window.z, window.y + i * h, window.x + j * w, h, w) for i in range(n) for j in range(n) if h and w]


def read_windows(
    reader: VolumeReader, windows: Sequence[Window], stats: Sequence[IntensityStats], limit_px: int = READ_LIMIT_PX
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (position in `windows`, normalised slice (C, h, w) float32), ordered by z.

    A voxel without a value (NaN) is read as 0, see `VolumeReader.read`: it would leave a whole patch without features.
    Neighbouring windows of one z are read together (a compressed page is then decoded once), up to `limit_px` pixels.
    """
    by_z: dict[int, list[int]] = defaultdict(list)
    for i, window in enumerate(windows):
        by_z[window.z].append(i)
    for z in sorted(by_z):
        for run in _runs([(i, windows[i]) for i in by_z[z]], reader.shape[0], limit_px):
            y0, x0 = min(w.y for _, w in run), min(w.x for _, w in run)
            y1, x1 = max(w.y + w.h for _, w in run), max(w.x + w.w for _, w in run)
            image = reader.read(Box((z, y0, x0), (1, y1 - y0, x1 - x0)))
            for i, w in run:
                cut = image[:, :, w.y - y0 : w.y - y0 + w.h, w.x - x0 : w.x - x0 + w.w]
                yield i, normalise.fixed(cut, stats)[:, 0]


def _runs(windows: list[tuple[int, Window]], channels: int, limit_px: int) -> Iterator[list[tuple[int, Window]]]:
    """Cut the windows of one z, in reading order, into runs whose bounding box stays below the limit."""
    run: list[tuple[int, Window]] = []
    top = bottom = left = right = 0
    for i, w in sorted(windows, key=lambda item: (item[1].y, item[1].x)):
        grown = (min(top, w.y), max(bottom, w.y + w.h), min(left, w.x), max(right, w.x + w.w))
        if not run or (grown[1] - grown[0]) * (grown[3] - grown[2]) * channels > limit_px:
            if run:
                yield run
            run, grown = [], (w.y, w.y + w.h, w.x, w.x + w.w)
        top, bottom, left, right = grown
        run.append((i, w))
    if run:
        yield run


def read_limit_px(ram_bytes: int) -> int:
    """Pixels that a stage which may use `ram_bytes` reads together."""
    return min(READ_LIMIT_PX, ram_bytes // READ_BYTES_PER_PX)


def fill_slices(
    put: Callable[[int, NDArray[np.float32]], None],
    reader: VolumeReader,
    windows: Sequence[Window],
    stats: Sequence[IntensityStats],
    patch_yx: tuple[int, int],
    image_px: int,
    limit_px: int = READ_LIMIT_PX,
) -> None:
    """Give each training window to `put` as (row, image (C, side, side)), side = `stored_px`: a patch's extent becomes
    image_px pixels.

    A volume that has no room for the margin is mirrored at its edge. limit_px: see `read_windows`.
    """
    side = stored_px(image_px)
    for i, image in read_windows(reader, windows, stats, limit_px):
        h, w = (
            min(side, round(extent * image_px / patch)) for extent, patch in zip(image.shape[1:], patch_yx, strict=True)
        )
        small = resample(image, h, w)
        put(i, np.pad(small, ((0, 0), (0, side - h), (0, side - w)), mode="symmetric"))


def stored_px(image_px: int) -> int:
    """Edge of a stored training slice."""
    return round(image_px * CROP_MARGIN)


def random_crops(slices: NDArray[np.float16], px: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Augmentation, for training only: from each (C, S, S) slice a random px x px crop, each axis flipped with even odds."""
    n, channels, side, _ = slices.shape
    crops = np.empty((n, channels, px, px), np.float32)
    corners = rng.integers(side - px + 1, size=(n, 2))
    flips = rng.integers(2, size=(n, 2)) * 2 - 1
    for i, ((y, x), (fy, fx)) in enumerate(zip(corners, flips, strict=True)):
        crops[i] = slices[i, :, y : y + px, x : x + px][:, ::fy, ::fx]
    return crops


def centre_crops(slices: NDArray[np.float16], px: int) -> NDArray[np.float32]:
    """The middle px x px of each slice: what the standardisation is measured on, without chance."""
    off = (slices.shape[2] - px) // 2
    return slices[:, :, off : off + px, off : off + px].astype(np.float32)
