"""Label images in NRRD files (ITK-SNAP, 3D Slicer, napari): one file, header and voxels, in the order of their indices.

The fastest axis of an NRRD is X, so the sizes backwards are (Z, Y, X). Directions and origin say how a world is laid over the
voxels; a label is compared with the image voxel by voxel, so they are not applied. Format: teem.sourceforge.net/nrrd/format.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.raw_labels import check_size, read_voxels, single_mask, unpacked

SIGNATURE = b"NRRD000"
MOST_HEADER_BYTES = 1 << 20
TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
COLOUR_KINDS = ("color", "colour", "vector", "complex", "matrix", "quaternion", "list", "point", "normal")


def read_nrrd(path: Path, limit_bytes: int) -> npt.NDArray[np.generic]:
    """The mask (Z, Y, X) in its own dtype, native byte order. Nothing is unpacked before its declared size was believed.

    Raises UnreadableVolumeError for a file that is cut off or damaged, voxels in another file, colour or vectors.
    """
    with readable(path), open(path, "rb") as file:
        fields = _header(path, file)
        if "data file" in fields or "datafile" in fields:
            raise UnreadableVolumeError(f"{path}: its voxels are in another file; save header and voxels in one .nrrd")
        if any(word in fields.get("kinds", "").lower() for word in COLOUR_KINDS):
            raise UnreadableVolumeError(f"{path}: holds colour or vectors; a label has one number per voxel")
        dtype, packing = _dtype(path, fields), fields.get("encoding", "").lower()
        if packing not in PACKINGS:
            raise UnreadableVolumeError(f"{path}: encoding {packing!r} cannot be read; save it raw or with gzip")
        if fields.get("line skip", fields.get("lineskip", "0")) != "0" or fields.get(
            "byte skip", fields.get("byteskip", "0")
        ) not in ("0", "-1"):
            raise UnreadableVolumeError(f"{path}: skips bytes between header and voxels; save it again as one .nrrd")
        sizes = _whole_numbers(path, fields, "sizes")
        if len(sizes) != len(fields.get("kinds", " ".join("k" * len(sizes))).split()):
            raise UnreadableVolumeError(f"{path}: its header contradicts itself (sizes and kinds); {AGAIN}")
        stored = tuple(reversed(sizes))
        check_size(path, stored, dtype, limit_bytes)
        shape = single_mask(path, stored)
        with unpacked(file, PACKINGS[packing]) as stream:
            return read_voxels(path, stream, shape, dtype)


def _header(path: Path, file: BinaryIO) -> dict[str, str]:
    """Its fields by name in small letters; the file stands at its voxels afterwards."""
    fields: dict[str, str] = {}
    read = 0
    while True:
        line = file.readline(MOST_HEADER_BYTES)
        read += len(line)
        if not line or read > MOST_HEADER_BYTES:
            raise UnreadableVolumeError(f"{path}: its header has no end: cut off or no NRRD; {AGAIN}")
        text = line.decode("latin-1").strip("\r\n")
        if not text:
            return fields
        if text.startswith("#") or ":=" in text:
            continue
        name, colon, value = text.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[np.generic]:
    name = " ".join(fields.get("type", "").lower().split())
    if name not in TYPES:
        raise UnreadableVolumeError(f"{path}: values of type {name!r}; a label has whole numbers, one per object")
    endian = fields.get("endian", "little").lower()
    if endian not in ("little", "big"):
        raise UnreadableVolumeError(f"{path}: byte order {endian!r} is unknown; {AGAIN}")
    return np.dtype(TYPES[name]).newbyteorder("<" if endian == "little" else ">")


def _whole_numbers(path: Path, fields: dict[str, str], name: str) -> list[int]:
    words = fields.get(name, "").split()
    if (
        not words
        or len(words) > 16
        or not all(word.isascii() and word.isdecimal() and len(word) < 12 for word in words)
    ):
        raise UnreadableVolumeError(f"{path}: its header says {name}: {fields.get(name, '')[:50]!r}; {AGAIN}")
    return [int(word) for word in words]
