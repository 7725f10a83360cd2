"""Training slices in a file: read by rows, so that a large training set is not in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alcore.arrays.diskgrid import DiskGrid


class Slices(Protocol):
    """Training slices (n, C, side, side) float16, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, C, side, side)."""

    def __len__(self) -> int:
        """n."""

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """The slices in these rows, in their order, as an array of their own."""


class StoredSlices:
    """`Slices` in a file, all zero at first."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        n, channels, side, _ = shape
        self._grid = DiskGrid(path, (n * channels, side, side), np.float16)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        out = np.empty((len(rows), *self.shape[1:]), np.float16)
        for k, row in enumerate(rows):
            out[k] = self._grid[self._index(int(row))]
        return out

    def put(self, row: int, image: NDArray[np.floating[Any]]) -> None:
        """Store one slice (C, side, side)."""
        self._grid[self._index(row)] = image

    def _index(self, row: int) -> tuple[slice, slice, slice]:
        _, channels, side, _ = self.shape
        return (slice(row * channels, (row + 1) * channels), slice(0, side), slice(0, side))

    def flush(self) -> None:
        """Make what was stored durable."""
        self._grid.flush()

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        self._grid.close()
