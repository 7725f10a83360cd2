"""Instance ids too many for a TIFF: a label image in OME-Zarr 0.5, with coarser levels so that viewers open it at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import Zyx, layout
from alcore.types import Box, VoxelSize
from alcore.volumes.store import CHUNK
from alcore.volumes.writers import METADATA_KEY, Scalar

if TYPE_CHECKING:
    import zarr

PIECE_CHUNKS = 16
"""Chunks that are asked for together, along x first."""
COARSEST_PX = 512
"""Levels are added until one is at most so wide and high."""


def write_labels_zarr(
    path: Path,
    read: Callable[[Box], npt.NDArray[np.generic]],
    shape: Zyx,
    dtype: npt.DTypeLike,
    voxel_um: VoxelSize | None,
    metadata: Mapping[str, Scalar],
    labels: bool = True,
) -> None:
    """Write what `read` gives for boxes (z, y, x), holding some chunks at a time; a new folder at `path`.

    Every level takes each second voxel of the finer one along y and x (planes are far apart), beginning with the first: ids
    must not be averaged. labels: whether these are ids, and viewers should colour them. metadata comes back through
    `zarr_metadata`. Layout: OME-Zarr 0.5, "multiscales" and "image-label" metadata.
    """
    import zarr
    from zarr.codecs import BloscCodec

    group = zarr.open_group(store=path, mode="w-", zarr_format=3)
    chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
    levels: list[zarr.Array] = []
    extent = shape
    while True:
        array = group.create_array(
            name=str(len(levels)),
            shape=extent,
            chunks=tuple(min(c, n) for c, n in zip(chunks, extent, strict=True)),
            dtype=np.dtype(dtype),
            fill_value=0,
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
            dimension_names=("z", "y", "x"),
        )
        _fill(array, read if not levels else _strided(levels[-1]), extent)
        levels.append(array)
        if max(extent[1:]) <= COARSEST_PX:
            break
        extent = (extent[0], -(-extent[1] // 2), -(-extent[2] // 2))
    group.attrs["ome"] = _ome(path.name, len(levels), voxel_um, labels)
    group.attrs[METADATA_KEY] = dict(metadata)


def _fill(array: zarr.Array, read: Callable[[Box], npt.NDArray[np.generic]], shape: Zyx) -> None:
    """Whole chunks at a time, those without anything left out."""
    depth, height, width = array.chunks
    along_x = min(PIECE_CHUNKS, -(-shape[2] // width))
    along_y = max(1, PIECE_CHUNKS // along_x)
    for box in layout(shape, (depth, height * along_y, width * along_x)):
        values = read(box)
        if values.any():
            array[box.slices] = values


def _strided(finer: zarr.Array) -> Callable[[Box], npt.NDArray[np.generic]]:
    def read(box: Box) -> npt.NDArray[np.generic]:
        z, y, x = box.slices
        part = finer[z, 2 * y.start : 2 * y.stop, 2 * x.start : 2 * x.stop]
        return np.asarray(part)[:, ::2, ::2]

    return read


def _ome(name: str, n_levels: int, voxel_um: VoxelSize | None, labels: bool) -> dict[str, Any]:
    unit = {} if voxel_um is None else {"unit": "micrometer"}
    z, y, x = voxel_um or (1.0, 1.0, 1.0)
    datasets = []
    for level, factor in ((n, 2**n) for n in range(n_levels)):
        # a voxel of a level lies where the first of those lay that it stands for: no translation
        scale = {"type": "scale", "scale": [z, y * factor, x * factor]}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    axes = [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    about: dict[str, Any] = {"version": "0.5"}
    about["multiscales"] = [{"name": name.removesuffix(".ome.zarr"), "axes": axes, "datasets": datasets}]
    return about | ({"image-label": {"version": "0.5"}} if labels else {})


def zarr_metadata(path: Path) -> dict[str, Scalar]:
    """What `write_labels_zarr` was given as metadata; empty for folders of other origin."""
    try:
        value = json.loads((path / "zarr.json").read_text())["attributes"][METADATA_KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


def read_labels_zarr(path: Path) -> npt.NDArray[np.generic]:
    """All ids (Z, Y, X) of a label image that is small enough for memory. Raises FileNotFoundError where there is none."""
    import zarr

    found: npt.NDArray[np.generic] = np.asarray(zarr.open_array(store=path / "0", mode="r", zarr_format=3)[:])
    return found
