"""Logits of overlapping tiles added up over a block of a volume, and what they say of each voxel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint8]


def classes(logits: Logits) -> Classes:
    """Class (Z, Y, X) of logits (K, Z, Y, X): 0 where background is the most likely, else 1..K, as plain nnU-Net has it."""
    found: Classes = np.where(logits.max(axis=0) > 0, logits.argmax(axis=0) + 1, 0).astype(np.uint8)
    return found


def foreground_logits(logits: Logits) -> Logits:
    """Logit (Z, Y, X) of not being background, of logits (K, Z, Y, X)."""
    if len(logits) == 1:
        return logits[0]
    found: Logits = np.logaddexp.reduce(logits, axis=0)
    return found


class TileSums:
    """Weighted sums of the tiles' logits (K, z, y, x), and of the weights, over one block, which is a column of the network
    grid; planes leave it as soon as they are complete.

    No more than `depth` planes, those of a tile, are incomplete at a time. It is one network pixel wider than y and x
    say, because interpolation to voxels looks at the neighbours.
    """

    def __init__(
        self, grid: tuple[int, int, int], y: tuple[int, int], x: tuple[int, int], depth: int, n_classes: int
    ) -> None:
        self.y, self.x = y, x
        self.top, self._bottom = max(0, y[0] - 1), min(grid[1], y[1] + 1)
        self.left, self._right = max(0, x[0] - 1), min(grid[2], x[1] + 1)
        self._first = 0
        extent = (min(depth, grid[0]), self._bottom - self.top, self._right - self.left)
        self._sums = np.zeros((n_classes + 1, *extent), np.float32)

    def reached(self, ys: list[int], xs: list[int], tile: Sequence[int]) -> list[tuple[int, int]]:
        """Starts (y, x) of the tiles that reach into the block, in raster order."""
        rows = [y for y in ys if y < self._bottom and y + tile[1] > self.top]
        columns = [x for x in xs if x < self._right and x + tile[2] > self.left]
        return [(y, x) for y in rows for x in columns]

    def add(
        self, start: tuple[int, int, int], logits: npt.NDArray[np.float32], importance: npt.NDArray[np.float32]
    ) -> None:
        """Add one tile's logits, weighted, where it lies in the block."""
        into: list[slice] = []
        part: list[slice] = []
        lows = (self._first, self.top, self.left)
        for s, size, low, n in zip(start, importance.shape, lows, self._sums.shape[1:], strict=True):
            a, b = max(s, low), min(s + size, low + n)
            into.append(slice(a - low, b - low))
            part.append(slice(a - s, b - s))
        weight = importance[tuple(part)]
        for k, values in enumerate(logits):
            self._sums[k][tuple(into)] += values[tuple(part)] * weight
        self._sums[-1][tuple(into)] += weight

    def take(self, stop: int, by_plane: bool) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(first plane, mean logits) of the planes below `stop`, which no later tile reaches: all together, or each alone."""
        n = stop - self._first
        for k in range(0, n, 1 if by_plane else max(n, 1)):
            part = slice(k, k + 1 if by_plane else n)
            yield self._first + k, self._sums[:-1, part] / self._sums[-1, part]
        self.leave(stop)

    def leave(self, stop: int) -> None:
        """Go on to the planes from `stop` on."""
        n = stop - self._first
        left = self._sums.shape[1] - n
        for plane in range(left):  # plane by plane: as a whole numpy would copy it first
            self._sums[:, plane] = self._sums[:, plane + n]
        self._sums[:, left:] = 0
        self._first = stop
