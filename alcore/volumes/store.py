"""Volume-sized label results as zarr v3 arrays, written and read in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alcore.errors import PermanentError

if TYPE_CHECKING:
    import zarr

CHUNK = (16, 256, 256)
"""Chunk (z, y, x) voxels: 4 MB of uint32."""

THREADS = 2
"""Of zarr's pool, as in `alcore.volumes.zarr_reader`: each keeps the chunk that it decoded."""


def create_labels(path: Path, shape: tuple[int, int, int]) -> zarr.Array:
    """A new (Z, Y, X) uint32 array of instance ids, 0 = background, zstd-compressed.

    Raises FileExistsError if `path` exists.
    """
    import zarr
    from zarr.codecs import BloscCodec

    if path.exists():
        raise FileExistsError(f"{path}: exists already")
    _one_chunk_at_a_time()
    chunks = (min(CHUNK[0], shape[0]), min(CHUNK[1], shape[1]), min(CHUNK[2], shape[2]))
    return zarr.create_array(
        store=path,
        shape=shape,
        chunks=chunks,
        dtype="uint32",
        fill_value=0,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        zarr_format=3,
    )


def open_labels(path: Path) -> zarr.Array:
    """The array that `create_labels` made, read-only. Raises PermanentError when it is not one."""
    import zarr

    _one_chunk_at_a_time()
    try:
        return zarr.open_array(store=path, mode="r", zarr_format=3)
    except Exception as e:  # zarr's errors vary by what is damaged
        raise PermanentError(f"{path}: no readable label array ({type(e).__name__}: {e})") from e


def _one_chunk_at_a_time() -> None:
    """Let zarr decode and encode chunks one after the other: of ten at once, its habit, 80 MB stay in memory."""
    import zarr

    zarr.config.set({"async.concurrency": 1, "threading.max_workers": THREADS})
