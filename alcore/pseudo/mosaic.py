"""Slices that are too large for one picture: overlapping windows, and one plane of objects from what was found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import layout, with_halo
from alcore.arrays.instancing import joined_roots
from alcore.pseudo.planes import Found, Ids
from alcore.types import Box

PIXELS = 1 << 20
"""Pixels of a plane that are counted at a time: whole planes as 64-bit numbers would be the most that is in memory."""


@dataclass(frozen=True)
class Mosaic:
    """Windows of a plane (Y, X). Cores tile it; a window is its core and half the overlap on each side. Boxes have one slice."""

    shape: tuple[int, int]
    cores: tuple[Box, ...]
    windows: tuple[Box, ...]
    columns: int

    @classmethod
    def of(cls, shape: tuple[int, int], window_px: int, overlap_px: int) -> Mosaic:
        """Windows of at most `window_px`, alike in size; a plane that fits is one window."""
        half = min(overlap_px, window_px // 2) // 2
        core = [_core(n, window_px, half) for n in shape]
        whole = (1, *shape)
        cores = layout(whole, (1, core[0], core[1]))
        windows = [with_halo(c, (0, half, half), whole)[0] for c in cores]
        return cls(shape, tuple(cores), tuple(windows), -(-shape[1] // core[1]))

    def neighbours(self) -> list[tuple[int, int]]:
        """Pairs of windows that lie side by side or one below the other."""
        n, c = len(self.cores), self.columns
        beside = [(k, k + 1) for k in range(n) if (k + 1) % c]
        return sorted(beside + [(k, k + c) for k in range(n - c)])


def _core(n: int, window_px: int, half: int) -> int:
    """Length of the fewest equal cores along n pixels whose windows are no longer than `window_px`."""
    if n <= window_px:
        return n
    two = -(-n // 2)
    return two if two + half <= window_px else -(-n // -(-n // (window_px - 2 * half)))


def join(mosaic: Mosaic, found: Sequence[Found], iou: float) -> Found:
    """One plane (Y, X) from the objects of all its windows: what agrees in an overlap is one object.

    Each voxel is taken from the window in whose core it lies. Ids are 1..n in raster order of their first voxel; the
    confidence of an object of several windows is their mean, weighted by area.
    """
    offsets = np.cumsum([0] + [len(f.confidence) for f in found])
    pairs = [_agreeing(mosaic, found, a, b, iou) + offsets[[a, b]] for a, b in mosaic.neighbours()]
    roots = joined_roots(int(offsets[-1]), [p.astype(np.uint32) for p in pairs])
    plane = np.zeros(mosaic.shape, np.uint32)
    area = np.zeros(offsets[-1] + 1)
    for core, window, f, offset in zip(mosaic.cores, mosaic.windows, found, offsets[:-1], strict=True):
        part = f.ids[_within(core, window)]
        table = np.concatenate([[0], np.arange(1, len(f.confidence) + 1) + offset])
        area += np.bincount(table[part].ravel(), minlength=len(area))
        plane[core.slices[1:]] = roots[table[part]]
    confidence = np.concatenate([[0.0], *(f.confidence for f in found)])
    total = np.bincount(roots, area, minlength=len(roots))
    weighted = np.bincount(roots, area * confidence, minlength=len(roots))
    plane, used = in_raster_order(plane)
    return Found(plane, (weighted[used] / np.maximum(total[used], 1)).astype(np.float32))


def in_raster_order(ids: Ids) -> tuple[Ids, npt.NDArray[np.int64]]:
    """The same objects with ids 1..n in the order of their first voxels, and the old id of each."""
    first = first_pixels(ids, int(ids.max(initial=0)))
    used = np.flatnonzero(first < ids.size)
    old = used[np.argsort(first[used], kind="stable")]
    table = np.zeros(len(first), np.uint32)
    table[old] = np.arange(1, len(old) + 1)
    return table[ids], old.astype(np.int64)


def first_pixels(ids: Ids, n: int) -> npt.NDArray[np.int64]:
    """Raster index of the first pixel of each id 0..n of a plane; its size for the background and for ids that do not occur."""
    first = np.full(n + 1, ids.size, np.int64)
    flat = ids.ravel()
    for start in range((flat.size - 1) // PIXELS * PIXELS, -1, -PIXELS):
        part = flat[start : start + PIXELS]
        place = np.flatnonzero(part)[::-1]
        first[part[place]] = place + start  # of several the last one stays, which is the first in the plane
    return first


def areas(ids: Ids, n: int) -> npt.NDArray[np.int64]:
    """Pixels of each id 0..n of a plane."""
    counted = np.zeros(n + 1, np.int64)
    flat = ids.ravel()
    for start in range(0, flat.size, PIXELS):
        counted += np.bincount(flat[start : start + PIXELS], minlength=n + 1)
    return counted


def _within(box: Box, window: Box) -> tuple[slice, slice]:
    """Where a box lies in the array of a window."""
    (_, y, x), (_, top, left) = box.start, window.start
    return slice(y - top, y - top + box.shape[1]), slice(x - left, x - left + box.shape[2])


def _agreeing(mosaic: Mosaic, found: Sequence[Found], a: int, b: int, iou: float) -> npt.NDArray[np.int64]:
    """Pairs (m, 2) of ids of windows a and b that are one object in the overlap of the two."""
    first, second = mosaic.windows[a], mosaic.windows[b]
    y, x = max(first.start[1], second.start[1]), max(first.start[2], second.start[2])
    h, w = min(first.stop[1], second.stop[1]) - y, min(first.stop[2], second.stop[2]) - x
    if h <= 0 or w <= 0:
        return np.zeros((0, 2), np.int64)
    both = Box((0, y, x), (1, h, w))
    mine = found[a].ids[_within(both, first)].ravel().astype(np.int64)
    theirs = found[b].ids[_within(both, second)].ravel().astype(np.int64)
    n = len(found[b].confidence) + 1
    keys, common = np.unique(mine * n + theirs, return_counts=True)
    pairs = np.stack(np.divmod(keys, n), axis=1)
    union = np.bincount(mine)[pairs[:, 0]] + np.bincount(theirs)[pairs[:, 1]] - common
    agreed: npt.NDArray[np.int64] = pairs[(pairs > 0).all(axis=1) & (common >= iou * union)]
    return agreed
