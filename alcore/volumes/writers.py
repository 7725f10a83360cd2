"""TIFFs that Fiji, napari and tifffile open with the right axes and voxel size, written strip by strip.

Two dialects: ImageJ hyperstacks where ImageJ has the dtype and 4 GB suffice, OME-TIFF (BigTIFF when needed) otherwise.
ImageJ has no uint32, and instance ids must survive.
"""

from __future__ import annotations

import json
import math
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.types import VoxelSize

CLASSIC_LIMIT_BYTES = 3_900_000_000
"""Above this size TIFF's 32-bit offsets are not safe: BigTIFF."""
IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
METADATA_KEY = "alscope"
STRIP_BYTES = 1 << 18
"""Pixels that are compressed together, as most writers do."""

Scalar = str | int | float


def write_labels_tiff(
    path: Path,
    planes: Iterable[npt.NDArray[np.generic]],
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike,
    voxel_um: VoxelSize | None,
    metadata: Mapping[str, Scalar] | None = None,
) -> None:
    """Write instance ids (Z, Y, X) from `planes`, Z arrays (Y, X), holding one at a time; zlib.

    A plane may also come as several arrays (rows, X) one after the other, so that not even a plane has to fit into memory.

    dtype: uint8 or uint16 (ImageJ dialect) or uint32 (OME). metadata comes back through `labels.read_labels_metadata`.
    Raises ValueError, leaving no file, for a plane of another shape, an id that `dtype` cannot hold, or too few or too
    many planes.
    """
    if np.dtype(dtype).name not in ("uint8", "uint16", "uint32"):
        raise ValueError(f"{path}: labels are written as uint8, uint16 or uint32, not {np.dtype(dtype)}")
    _write(path, planes, (1, *shape), np.dtype(dtype), voxel_um, metadata or {})


def write_image_tiff(
    path: Path,
    image: npt.NDArray[np.generic],
    voxel_um: VoxelSize | None,
    metadata: Mapping[str, Scalar] | None = None,
) -> None:
    """Write an image (C, Z, Y, X) of any intensity dtype with its voxel size (z, y, x) um; zlib."""
    c, z, y, x = image.shape
    planes = (image[channel, plane] for plane in range(z) for channel in range(c))
    _write(path, planes, (c, z, y, x), image.dtype.newbyteorder("="), voxel_um, metadata or {})


def _write(
    path: Path,
    planes: Iterable[npt.NDArray[np.generic]],
    shape: tuple[int, int, int, int],
    dtype: np.dtype[Any],
    voxel_um: VoxelSize | None,
    metadata: Mapping[str, Scalar],
) -> None:
    """Planes come channel-fastest; shape is (C, Z, Y, X)."""
    import tifffile

    c, z, y, x = shape
    if min(shape) < 1 or x < 2:
        raise ValueError(f"{path}: a TIFF of shape (C, Z, Y, X) = {shape} is empty or a single column")
    large = math.prod(shape) * dtype.itemsize > CLASSIC_LIMIT_BYTES
    imagej = dtype.name in IMAGEJ_DTYPES and not large
    text = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    about: dict[str, Any] = {"axes": "ZCYX"}
    resolution: dict[str, Any] = {}
    if imagej:
        about |= {"Info": f"{METADATA_KEY} {text}"}
        if c > 1:
            about |= {"mode": "composite"}
        if voxel_um is not None:
            about |= {"spacing": voxel_um[0], "unit": "um"}
            resolution = {"resolution": (1 / voxel_um[2], 1 / voxel_um[1]), "resolutionunit": "NONE"}
    else:
        # the same content gives the same bytes: OME-TIFF would otherwise carry a random identity
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{METADATA_KEY} {shape} {dtype} {voxel_um} {text}")
        about |= {"UUID": str(identity), "MapAnnotation": {"Namespace": METADATA_KEY, METADATA_KEY: text}}
        if voxel_um is not None:
            for axis, size in zip("ZYX", voxel_um, strict=True):
                about |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
            per_cm = (10_000 / voxel_um[2], 10_000 / voxel_um[1])
            resolution = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    source = iter(planes)
    rows = min(y, max(1, STRIP_BYTES // (x * dtype.itemsize)))
    try:
        with tifffile.TiffWriter(path, bigtiff=large, imagej=imagej, ome=not imagej) as tif:
            tif.write(
                _strips(path, source, c * z, (y, x), dtype, rows),
                shape=(z, c, y, x),
                dtype=dtype,
                photometric="minisblack",
                compression="zlib",
                rowsperstrip=rows,
                maxworkers=1,
                metadata=about,
                **resolution,
            )
        if next(source, None) is not None:
            raise ValueError(f"{path}: more than the {c * z} planes that were announced")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _strips(
    path: Path,
    parts: Iterator[npt.NDArray[np.generic]],
    n: int,
    plane_shape: tuple[int, int],
    dtype: np.dtype[Any],
    rows: int,
) -> Iterator[bytes]:
    """The next n planes, whole or in parts, as compressed strips of `rows` rows (the last of a plane may have fewer)."""
    height, width = plane_shape
    for index in range(n):
        waiting: list[npt.NDArray[np.generic]] = []
        have = done = 0
        while done < height:
            part = next(parts, None)
            if part is None:
                raise ValueError(f"{path}: {index} planes instead of {n}")
            if part.ndim != 2 or part.shape[1] != width or not 0 < len(part) <= height - done:
                raise ValueError(f"{path}: plane {index} has shape {part.shape}, expected {plane_shape}")
            if not np.can_cast(part.dtype, dtype) and (part.astype(dtype) != part).any():
                raise ValueError(f"{path}: plane {index} holds values that {dtype} cannot ({part.min()}..{part.max()})")
            done += len(part)
            waiting, have = [*waiting, part], have + len(part)
            while have >= rows or (done == height and have):
                strip, waiting = _first_rows(waiting, min(rows, have))
                have -= len(strip)
                yield zlib.compress(np.ascontiguousarray(strip, dtype).data)


def _first_rows(
    parts: list[npt.NDArray[np.generic]], n: int
) -> tuple[npt.NDArray[np.generic], list[npt.NDArray[np.generic]]]:
    """The first n rows of arrays that follow one another, and the arrays without them."""
    if len(parts[0]) >= n:
        return parts[0][:n], [part for part in (parts[0][n:], *parts[1:]) if len(part)]
    together = np.concatenate(parts)
    return together[:n], [together[n:]] if len(together) > n else []
