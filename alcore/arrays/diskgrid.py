"""An array in a file, read and written box by box. Unlike a memory map, nothing of it stays in the memory of this process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from alcore.errors import TransientError

Zyx = tuple[int, int, int]
Index = tuple[slice, slice, slice]


class DiskGrid:
    """A (Z, Y, X) array of `dtype` in a raw file of its own, all zero at first; the same file is found again after a kill.

    A full disk is an OSError at the write, where a memory map would kill the process. A context manager.
    """

    def __init__(self, path: Path, shape: Zyx, dtype: npt.DTypeLike) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        size = math.prod(shape) * self.dtype.itemsize
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if os.fstat(self._fd).st_size != size:  # new, of another shape, or killed while it was made
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, size)

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """A copy of the box at three slices with start and stop, and no step."""
        out = np.empty(_extent(index), self.dtype)
        for offset, run in self._runs(index, out):
            view = run.data.cast("B")
            while view:
                n = os.preadv(self._fd, [view], offset)
                if not n:
                    raise TransientError(f"{self.path}: became shorter while it was in use; the work starts again")
                view, offset = view[n:], offset + n
        return out

    def __setitem__(self, index: Index, values: npt.ArrayLike) -> None:
        """Store a box, given as something that broadcasts to its extent."""
        values = np.ascontiguousarray(np.broadcast_to(np.asarray(values, self.dtype), _extent(index)))
        for offset, run in self._runs(index, values):
            view = run.data.cast("B")
            while view:
                n = os.pwritev(self._fd, [view], offset)
                view, offset = view[n:], offset + n

    def _runs(self, index: Index, values: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(place in the file, part of `values`) of the pieces of a box that lie together in the file."""
        (_, height, width), item = self.shape, self.dtype.itemsize
        z, y, x = index
        if not values.size:
            return
        if x.stop - x.start == width and y.stop - y.start == height:
            yield z.start * height * width * item, values
            return
        whole_rows = x.stop - x.start == width
        for plane, part in enumerate(values, z.start):
            if whole_rows:
                yield (plane * height + y.start) * width * item, part
                continue
            for row, line in enumerate(part, y.start):
                yield ((plane * height + row) * width + x.start) * item, line

    def flush(self) -> None:
        """Make what was written durable."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Release the file, which stays. Closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Close it and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _extent(index: Index) -> Zyx:
    z, y, x = (s.stop - s.start for s in index)
    return (z, y, x)
