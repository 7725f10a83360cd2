"""Large TIFF stacks for benchmarks, written slice by slice; and reading them as plainly as can be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

READ_BYTES = 4 << 20


def write_stack(path: Path, shape: tuple[int, int, int], dtype: str) -> int:
    """An uncompressed TIFF stack (Z, Y, X) of noise over a slope, on the disk for good; returns its size in bytes."""
    import tifffile

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 100, shape[1:]).astype(dtype)
    slices = (np.roll(noise, 37 * z, axis=1) + np.dtype(dtype).type(z % 100) for z in range(shape[0]))
    tifffile.imwrite(path, slices, shape=shape, dtype=dtype, bigtiff=True, metadata={"axes": "ZYX"})
    return flush(path)


def write_sparse_stack(path: Path, shape: tuple[int, int, int], dtype: str, every: int) -> int:
    """A BigTIFF stack (Z, Y, X) of which only each `every`-th slice has ever been written: the rest are holes of zeros."""
    import tifffile

    rng = np.random.default_rng(0)
    tifffile.imwrite(path, shape=shape, dtype=dtype, bigtiff=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        offset = tif.series[0].dataoffset
    assert offset is not None
    slice_bytes = shape[1] * shape[2] * np.dtype(dtype).itemsize
    with open(path, "r+b") as f:
        for z in range(0, shape[0], every):
            f.seek(offset + z * slice_bytes)
            f.write(rng.integers(0, 200, shape[1:]).astype(dtype).tobytes())
        f.truncate(max(os.fstat(f.fileno()).st_size, offset + shape[0] * slice_bytes))
    return flush(path)


def flush(path: Path) -> int:
    """Make sure that the file is on the disk, so that it can be dropped from memory; returns its size in bytes."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        return os.fstat(f.fileno()).st_size


def make_cold(path: Path) -> None:
    """Drop a file from the page cache."""
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(path: Path) -> None:
    """Every byte once, in order, in blocks of 4 MB."""
    buffer = memoryview(bytearray(READ_BYTES))
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass
