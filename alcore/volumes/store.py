"""Volume-sized label results as zarr v3 arrays, written and read in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alcore.errors import PermanentError

if TYPE_CHECKING:
    import zarr

CHUNK = (16, 256, 256)
"""Chunk (z, y, x) voxels: 4 MB of uint32."""


def create_labels(path: Path, shape: tuple[int, int, int]) -> zarr.Array:
    """A new (Z, Y, X) uint32 array of instance ids, 0 = background, zstd-compressed.

    Raises FileExistsError if `path` exists.
    """
    import zarr
    from zarr.codecs import BloscCodec

    if path.exists():
        raise FileExistsError(f"{path}: exists already")
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

    try:
        return zarr.open_array(store=path, mode="r", zarr_format=3)
    except Exception as e:  # zarr's errors vary by what is damaged
        raise PermanentError(f"{path}: no readable label array ({type(e).__name__}: {e})") from e
