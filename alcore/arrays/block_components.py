"""Connected components of a mask that is too large for memory: block by block, equal to those of the whole."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alcore.arrays.instancing import joined_roots
from alcore.errors import PermanentError
from alcore.types import Box

BYTES_PER_VOXEL = 28
"""Memory that `BlockComponents.add` takes per voxel of a block, the mask included."""


class IdStore(Protocol):
    """Where provisional ids (Z, Y, X) are kept: an array on disk or in memory, indexed by three slices."""

    def __getitem__(self, index: Any) -> Any:
        """The ids of a box."""

    def __setitem__(self, index: Any, values: Any) -> None:
        """Store the ids of a box."""


class BlockComponents:
    """Face-connected components of a mask (Z, Y, X) that comes in boxes which tile it, in raster order.

    First pass: `add` each box, which stores provisional ids in `ids` (all zero at first). Second pass: replace every
    provisional id by `table[id]` with the table from `finish`. The result equals `connected_components` of the whole mask:
    ids 1..n in raster order of their first voxel, without the components of fewer than `min_voxels` voxels. Memory: one
    block, and some 60 bytes per component; small ones that end inside their block cost nothing.
    """

    def __init__(self, ids: IdStore, shape: tuple[int, int, int], min_voxels: int = 0) -> None:
        self._ids, self._shape, self._least = ids, shape, max(min_voxels, 1)
        self._n = 0
        self._sizes: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._first: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._touching: list[npt.NDArray[np.uint32]] = []
        self.foreground_voxels = 0
        """After `finish`: voxels of all components that remain."""

    def add(self, box: Box, mask: npt.NDArray[np.generic]) -> None:
        """Take the mask (z, y, x) of the next box into account and store its provisional ids."""
        from scipy import ndimage

        labels = np.empty(mask.shape, np.uint32)
        ndimage.label(mask != 0, structure=ndimage.generate_binary_structure(3, 1), output=labels)
        sizes = np.bincount(labels.ravel())
        kept = sizes >= self._least
        for axis in range(3):  # what may go on in another block may still grow
            for edge, inside in ((0, box.start[axis] > 0), (-1, box.stop[axis] < self._shape[axis])):
                if inside:
                    kept[np.take(labels, edge, axis)] = True
        kept[0] = False
        n = int(kept.sum())
        if self._n + n >= np.iinfo(np.uint32).max:
            raise PermanentError("more than 4 billion components: the mask is noise, raise the threshold or smooth it")
        self._sizes.append(sizes[kept])
        self._first.append(self._first_voxels(labels, box)[kept[1:]])
        table = np.zeros(len(kept), np.uint32)
        table[kept] = np.arange(self._n + 1, self._n + n + 1)
        labels = table[labels]
        self._n += n
        self._join(box, labels)
        self._ids[box.slices] = labels

    def _first_voxels(self, labels: npt.NDArray[np.uint32], box: Box) -> npt.NDArray[np.int64]:
        """Raster index in the whole mask of the first voxel of ids 1..n, which are in that order within the block."""
        highest = np.maximum.accumulate(labels.ravel())
        new = np.flatnonzero(highest[1:] != highest[:-1]) + 1
        if highest.size and highest[0]:
            new = np.concatenate([[0], new])
        place = (k + s for k, s in zip(np.unravel_index(new, labels.shape), box.start, strict=True))
        return np.ravel_multi_index(tuple(place), self._shape).astype(np.int64)

    def _join(self, box: Box, labels: npt.NDArray[np.uint32]) -> None:
        """Note which ids of the block touch those of the blocks before it."""
        for axis in range(3):
            if box.start[axis] == 0:
                continue
            start, shape = list(box.start), list(box.shape)
            start[axis], shape[axis] = start[axis] - 1, 1
            before = self._ids[Box((start[0], start[1], start[2]), (shape[0], shape[1], shape[2])).slices].ravel()
            here = np.take(labels, 0, axis).ravel()
            both = (before > 0) & (here > 0)
            self._touching.append(np.unique(np.stack([before[both], here[both]], axis=1), axis=0))

    def finish(self) -> npt.NDArray[np.uint32]:
        """Table (n_provisional + 1,) uint32 from provisional to final ids 1..n; what is too small becomes 0."""
        sizes, first = np.concatenate(self._sizes), np.concatenate(self._first)
        self._sizes, self._first = [], []
        roots = joined_roots(self._n, self._touching)
        joined = np.bincount(roots, sizes, minlength=len(roots))
        earliest = np.full(len(roots), math.prod(self._shape))
        np.minimum.at(earliest, roots, first)
        kept = (roots == np.arange(len(roots))) & (joined >= self._least)
        kept[0] = False
        self.foreground_voxels = int(joined[kept].sum())
        rows = np.flatnonzero(kept)
        final = np.zeros(len(roots), np.uint32)
        final[rows[np.argsort(earliest[rows])]] = np.arange(1, len(rows) + 1)
        return final[roots]
