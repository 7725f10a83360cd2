"""Writes OME-Zarr trees for tests: the metadata by hand, the chunks by zarr."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
import zarr.codecs

KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
ARRAY = {4: 2, 5: 3}
"""Minor version of OME-Zarr -> zarr_format."""


def put(file: Path, document: object) -> None:
    """Write JSON, making folders on the way."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def group(folder: Path, ome: Mapping[str, Any], minor: int = 5) -> None:
    """A group with OME-Zarr metadata of version 0.4 or 0.5."""
    if minor == 5:
        attributes = {"ome": {"version": "0.5", **ome}}
        put(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    else:
        put(folder / ".zgroup", {"zarr_format": 2})
        put(folder / ".zattrs", ome)


def array(folder: Path, image: np.ndarray[Any, Any], minor: int = 5, **options: Any) -> None:
    """Write one array with every chunk, also those that are empty, unless options["config"] says otherwise."""
    options = {"config": {"write_empty_chunks": True}, **options}
    if minor == 4:
        options.setdefault("chunk_key_encoding", {"name": "v2", "separator": "/"})
    shape, chunks = image.shape, options.pop("chunks", (16,) * image.ndim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of codecs that are not in its standard
        made = zarr.create_array(
            store=folder, shape=shape, dtype=image.dtype, zarr_format=ARRAY[minor], chunks=chunks, **options
        )
        made[...] = image


def multiscale(
    axes: str, scale: Sequence[float] | None = None, unit: str | None = "micrometer", **more: Any
) -> dict[str, Any]:
    """One entry of `multiscales` with one level, in folder 0."""
    listed = []
    for letter in axes:
        axis = {"name": letter, "type": KINDS[letter]}
        if letter in "zyx" and unit:
            axis["unit"] = unit
        listed.append(axis)
    steps = [{"type": "scale", "scale": list(scale or [1.0] * len(axes))}]
    return {"axes": listed, "datasets": [{"path": "0", "coordinateTransformations": steps}], **more}


def write_zarr(path: Path, image: np.ndarray[Any, Any], axes: str, minor: int = 5, **options: Any) -> None:
    """An OME-Zarr of one image with one dimension per letter of `axes`; replaces what is at `path`."""
    if path.is_dir():
        shutil.rmtree(path)
    group(path, {"multiscales": [multiscale(axes)]}, minor)
    array(path / "0", image, minor, **options)


def form(
    axes: str, minor: int, big_endian: bool = False, **options: Any
) -> Callable[[Path, np.ndarray[Any, Any]], None]:
    """A way to write (C, Z, Y, X) as an OME-Zarr whose dimensions are in the order of `axes`."""

    def write(path: Path, image: np.ndarray[Any, Any]) -> None:
        image = image.transpose(["czyx".index(letter) for letter in axes])
        write_zarr(path, image.astype(image.dtype.newbyteorder(">")) if big_endian else image, axes, minor, **options)

    return write


RAW = {"compressors": None}
V2_KEYS = {"name": "v2", "separator": "."}
FORMS = {
    "omezarr_04": form("czyx", 4, chunks=(1, 2, 16, 16)),
    "omezarr_04_raw_dots": form("czyx", 4, big_endian=True, chunks=(2, 3, 7, 40), chunk_key_encoding=V2_KEYS, **RAW),
    "omezarr_04_zlib_shuffle": form(
        "zcyx", 4, chunks=(1, 3, 9, 40), filters=[numcodecs.Shuffle()], compressors=numcodecs.Zlib()
    ),
    "omezarr_05": form("czyx", 5, chunks=(1, 3, 20, 20)),
    "omezarr_05_zcyx": form("zcyx", 5, chunks=(2, 2, 16, 16), compressors=zarr.codecs.GzipCodec()),
    "omezarr_05_raw_v2_keys": form(
        "czyx", 5, big_endian=True, chunks=(1, 1, 40, 40), chunk_key_encoding=V2_KEYS, **RAW
    ),
    "omezarr_05_sharded": form("czyx", 5, chunks=(1, 1, 8, 8), shards=(1, 2, 16, 32)),
    "omezarr_05_sharded_raw": form("czyx", 5, chunks=(2, 2, 8, 8), shards=(2, 4, 8, 48), **RAW),
}
"""Name -> how to write (C, Z, Y, X)."""
