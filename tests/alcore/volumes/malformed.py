"""Malformed TIFFs as bytes: every row of the table of what readers make of them, and worse."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile


def stack(n: int = 10) -> np.ndarray[Any, Any]:
    """(Z, Y, X) uint16 noise without a single zero."""
    return np.random.default_rng(0).integers(1, 4000, (n, 60, 70)).astype(np.uint16)


def header_only(width: int, height: int, compression: int = 1, data: bytes = b"\x01", **other: int) -> bytes:
    """A one-strip 8-bit TIFF that claims any size. other: samples, bits, strips."""
    n = other.get("count", len(data))
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, other.get("bits", 8)),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, other.get("strips", 1), 8),
        (277, 3, 1, other.get("samples", 1)),
        (278, 4, 1, height),
        (279, 4, other.get("strips", 1), n),
    ]
    if "description" in other:
        tags.insert(5, (270, 2, other["description"], 8))
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def deflated_zeros(n_mb: int) -> bytes:
    """A zlib stream of so many MB of zeros, made without deflating them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">I", ((n_mb << 20) % 65521) << 16 | 1)
    return b"\x78\xda" + megabyte * n_mb + b"\x03\x00" + checksum


def written(image: np.ndarray[Any, Any] | None = None, **options: Any) -> bytes:
    """The stack (or `image`) as tifffile writes it."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stack() if image is None else image, photometric="minisblack", **options)
    return buffer.getvalue()


def appended(planes: Sequence[np.ndarray[Any, Any]], description: str | None = None) -> bytes:
    """Page after page, as microscopes write; the first carries the description."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tif:
        for index, plane in enumerate(planes):
            told = None if index or description is None else description.encode()
            tif.write(plane, photometric="minisblack", metadata=None, contiguous=False, description=told)
    return buffer.getvalue()


def micromanager(held: int, promised: int) -> bytes:
    """A Micro-Manager stack without OME-XML that holds so many of its planes."""
    summary = json.dumps({"MicroManagerVersion": "1.4", "Frames": 1, "Slices": promised, "Channels": 1}).encode()
    index_at = 40 + len(summary)
    index = b"".join(struct.pack("<5I", 0, z, 0, 0, index_at + 1000 + 5000 * z) for z in range(held))
    body = bytearray(index_at + 1000 + 5000 * held)
    body[:8] = b"II*\0" + struct.pack("<I", index_at + 1000)
    body[8:40] = struct.pack("<8I", 54773648, index_at, 483765892, 0, 99384722, 0, 2355492, len(summary))
    body[40:index_at] = summary
    body[index_at : index_at + 8 + len(index)] = struct.pack("<II", 3453623, held) + index
    for z in range(held):
        at = index_at + 1000 + 5000 * z
        tags = [(256, 4, 60), (257, 4, 60), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, at + 162), (277, 3, 1)]
        tags += [(278, 4, 60), (279, 4, 3600), (296, 3, 1)]
        entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        entries += struct.pack("<HHII", 51123, 2, len(summary), 40)
        body[at : at + 2 + len(entries)] = struct.pack("<H", len(tags) + 1) + entries
        following = 0 if z == held - 1 else at + 5000
        body[at + 2 + len(entries) : at + 6 + len(entries)] = struct.pack("<I", following)
        body[at + 162 : at + 162 + 3600] = np.random.default_rng(z).bytes(3600)
    return bytes(body)


IMAGEJ = written(imagej=True, metadata={"axes": "ZYX"})
PLAIN = written(metadata=None)
SHAPED = written(metadata={"axes": "ZYX"})
OME = written(ome=True, metadata={"axes": "ZYX"})
PACKED = written(compression="zlib", metadata=None)
BIG = written(bigtiff=True, metadata={"axes": "ZYX"})
APPENDED = appended(list(stack()))
UNLIKE = [*stack(9), np.ones((60, 35), np.uint16)]
COUNT = struct.pack("<HHII", 279, 4, 1, 8400)


def damaged(data: bytes, old: bytes, new: bytes) -> bytes:
    """`data` with the first `old` replaced; the two are equally long."""
    assert old in data and len(old) == len(new)
    return data.replace(old, new, 1)


CASES: dict[str, tuple[bytes, str]] = {
    "half of an ImageJ stack": (IMAGEJ[: len(IMAGEJ) // 2], "beyond the end of the file"),
    "half of a contiguous stack": (PLAIN[: len(PLAIN) // 2], "beyond the end of the file"),
    "half of a BigTIFF": (BIG[: len(BIG) // 2], "beyond the end of the file"),
    "half of an OME-TIFF": (OME[: len(OME) // 2], "beyond the end of the file"),
    "zlib cut": (PACKED[: len(PACKED) // 2], "bytes at byte 29920, but the file ends at"),
    "preallocated, 6 of 10 planes": (
        APPENDED[: len(APPENDED) * 6 // 10] + bytes(len(APPENDED) - len(APPENDED) * 6 // 10),
        "reserved but not written",
    ),
    "zlib overwritten in the middle": (
        damaged(PACKED, PACKED[40000:40100], bytes(100)),
        "damaged: its contents cannot be decoded",
    ),
    "page without data": (damaged(APPENDED, COUNT, COUNT[:8] + bytes(4)), "never written"),
    "page shorter than its size": (damaged(APPENDED, COUNT, COUNT[:8] + struct.pack("<I", 8000)), "8000 of 8400 bytes"),
    "OME says 99, file has 10": (OME.replace(b'SizeZ="10"', b'SizeZ="99"'), "89 of the 99 planes"),
    "OME says 99 twice, file has 10": (
        OME.replace(b'SizeZ="10"', b'SizeZ="99"').replace(b'PlaneCount="10"', b'PlaneCount="99"'),
        "10 pages are there, page 99 is promised",
    ),
    "OME says 9, file has 10": (
        damaged(OME, b'SizeZ="10"', b'SizeZ="9" '),
        "1 of its 10 pages are planes that its OME-XML does not speak of",
    ),
    "OME of another size": (damaged(OME, b'SizeX="70"', b'SizeX="35"'), "planes of 60 x 35 pixels"),
    "OME cut off": (damaged(OME, b"<Pixels", b"<Pixel<"), "cut off or damaged"),
    "ImageJ says 99, file has 10": (
        damaged(IMAGEJ, b"images=10\nslices=10", b"images=99\nslices=99"),
        "metadata promise 99 planes, 10 are there",
    ),
    "ImageJ says 9, file has 10": (
        damaged(IMAGEJ, b"images=10\nslices=10", b"images=9 \nslices=9 "),
        "metadata promise 9 planes, 10 are there",
    ),
    "ImageJ, last page of another size": (
        appended(UNLIKE, "ImageJ=1.53\nimages=10\nslices=10\n"),
        "differ in size, bits or compression",
    ),
    "tifffile says 9, file has 10": (
        damaged(SHAPED, b'"shape": [10,', b'"shape": [9, '),
        "invalid shaped series metadata or corrupted file",
    ),
    "tifffile says 99, file has 10": (
        damaged(SHAPED, b'"shape": [10,', b'"shape": [99,'),
        "10 planes are there, 99 are declared",
    ),
    "tifffile, last page of another size": (
        appended(UNLIKE, '{"shape": [10, 60, 70], "axes": "ZYX"}'),
        "damaged",
    ),
    "header of 2^20 squared": (header_only(1 << 20, 1 << 20), "bytes of image data were written"),
    "packed header of 2^20 squared": (
        header_only(1 << 20, 1 << 20, 8, zlib.compress(bytes(100))),
        "would decode to 1024.0 GB",
    ),
    "bomb of 1 GB": (header_only(1 << 15, 1 << 15, 8, deflated_zeros(1024)), "no image compresses so well"),
    "strip that inflates beyond its size": (header_only(64, 64, 8, deflated_zeros(256)), "cannot be decoded"),
    "strip that inflates to less": (header_only(64, 64, 8, zlib.compress(bytes(range(100)))), "cannot be decoded"),
    "4 million strips": (header_only(64, 64, strips=(1 << 22) + 1), "beyond reason"),
    "description of 3 GB": (header_only(64, 64, data=bytes(4096), description=3 << 30), "more than 64 MB"),
    "65535 samples": (header_only(64, 64, data=bytes(4096), samples=65535), "bytes of image data were written"),
    "no width": (header_only(0, 64), "without height or width"),
    "pixels of 0 bits": (header_only(64, 64, data=bytes(4096), bits=0), "0-bit samples"),
    "pixels of 65528 bits": (header_only(64, 64, data=bytes(4096), bits=65528), "bytes of image data were written"),
    "chain without end": (
        header_only(4, 4, 1, bytes(16))[:-4] + struct.pack("<I", 24),
        "goes round in circles",
    ),
    "only a header": (b"II*\0\x08\0\0\0", "beyond the end of the file"),
    "header that points nowhere": (b"II*\0\0\0\0\0", "nothing was written after it"),
    "empty": (b"", "an empty file"),
    "garbage": (np.random.default_rng(2).bytes(5000), "no image of a format that can be read"),
    "100 bytes": (IMAGEJ[:100], "page 0 ends in the middle"),
    "constant": (header_only(64, 64, data=b"\x07" * 4096), "every voxel has the value 7"),
    "not a number": (written(np.full((3, 60, 70), np.nan, np.float32), metadata={"axes": "ZYX"}), "no finite value"),
    "absurd values": (written(np.full((3, 60, 70), 3e38, np.float32), metadata={"axes": "ZYX"}), "are no intensities"),
    "Micro-Manager, 3 of 5 planes": (micromanager(3, 5), "3 of the 5 planes of a Micro-Manager acquisition"),
}
"""Name -> (bytes, words of the reason)."""
