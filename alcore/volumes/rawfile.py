"""Bytes of a file at known places, read with pread: a file that is cut while it is read would kill a process that maps it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from alcore.errors import SourceChangedError, UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import Array

ROW_GAP_BYTES = 32 << 10
"""Up to so many unwanted bytes per row, whole rows in one call are faster than a call per row."""
PIECE_BYTES = 64 << 20
"""Bytes that one call may ask for when rows are read together."""


class RawFile:
    """A file that is open for reading. size: its bytes when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(path):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._fd).st_size

    def bytes(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`. Raises UnreadableVolumeError beyond the end, SourceChangedError when that moved."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableVolumeError(
                f"{self.path}: {length} bytes at byte {offset} lie beyond the end of the file ({self.size}): "
                f"cut off; {AGAIN}"
            )
        parts, got = [], 0
        with readable(self.path):
            while got < length:
                part = os.pread(self._fd, length - got, offset + got)
                if not part:
                    raise SourceChangedError(f"{self.path}: became shorter while it was read")
                parts.append(part)
                got += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def plane(
        self, offset: int, dtype: np.dtype[np.generic], samples: int, row_bytes: int, rows: slice, columns: slice
    ) -> Array:
        """(rows, columns, samples) of pixels that lie in rows of `row_bytes` from `offset`, the samples of one side by side."""
        pixel = dtype.itemsize * samples
        first, length = columns.start * pixel, (columns.stop - columns.start) * pixel
        height = rows.stop - rows.start
        out = np.empty((height, columns.stop - columns.start, samples), dtype)
        together = max(1, PIECE_BYTES // row_bytes) if row_bytes - length <= ROW_GAP_BYTES else 1
        for row in range(0, height, together):
            n = min(together, height - row)
            data = self.bytes(offset + (rows.start + row) * row_bytes + first, (n - 1) * row_bytes + length)
            view: Array = np.ndarray((n, *out.shape[1:]), dtype, data, 0, (row_bytes, pixel, dtype.itemsize))
            out[row : row + n] = view
        return out

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
