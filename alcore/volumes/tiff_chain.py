"""The chain of directories in a TIFF, walked with nothing but struct: an oracle that does not repair what it reads."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAX_DIRECTORIES = 200_000
"""More pages than any acquisition has; a chain that is longer is not walked to its end."""
MAX_ENTRIES = 4096
"""More tags than any directory has."""

_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_SUBFILE_TYPE, _SAMPLE_FORMAT = 254, 339
_WANTED = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _SUBFILE_TYPE, _SAMPLE_FORMAT}
_WANTED |= {_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES}


class BrokenChainError(ValueError):
    """The chain does not hold; the message says where."""


@dataclass(frozen=True)
class Directory:
    """One page as its directory describes it. kind: what has to be equal on all pages of a stack."""

    index: int
    tags: dict[int, tuple[int, ...]] = field(repr=False)

    @property
    def kind(self) -> tuple[tuple[int, ...], ...]:
        """Height, width, bits, samples, format and compression."""
        wanted = (_HEIGHT, _WIDTH, _BITS, _SAMPLES, _SAMPLE_FORMAT, _COMPRESSION)
        defaults: dict[int, tuple[int, ...]] = {_SAMPLES: (1,), _SAMPLE_FORMAT: (1,), _COMPRESSION: (1,), _BITS: (1,)}
        return tuple(self.tags.get(tag, defaults.get(tag, ())) for tag in wanted)

    @property
    def is_reduced(self) -> bool:
        """True for a thumbnail or pyramid level."""
        return bool(self.tags.get(_SUBFILE_TYPE, (0,))[0] & 1)

    @property
    def segments(self) -> list[tuple[int, int]]:
        """(offset, bytes) of every strip or tile. Raises BrokenChainError when the two lists differ in length."""
        offsets = self.tags.get(_TILE_OFFSETS, self.tags.get(_STRIP_OFFSETS, ()))
        counts = self.tags.get(_TILE_BYTES, self.tags.get(_STRIP_BYTES, ()))
        if len(offsets) != len(counts):
            raise BrokenChainError(f"page {self.index} has {len(offsets)} parts but {len(counts)} lengths")
        return list(zip(offsets, counts, strict=True))


def walk(path: Path) -> Iterator[Directory]:
    """Every directory of the main chain in order. Raises BrokenChainError where it is broken, OSError as `open` does.

    A file that is still being written ends in a directory that lies beyond its end, or in zeros that a writer
    reserved: a directory without entries.
    """
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        order, big, offset = _header(f)
        seen: set[int] = set()
        while offset:
            index = len(seen)
            if offset in seen or index >= MAX_DIRECTORIES:
                raise BrokenChainError(f"the chain of pages does not end (page {index} points back or beyond reason)")
            seen.add(offset)
            if offset + 2 > size:
                raise BrokenChainError(
                    f"page {index} would begin at byte {offset}, beyond the end of the file ({size})"
                )
            tags, offset = _directory(f, offset, size, order, big, index)
            yield Directory(index, tags)
        if not seen:
            raise BrokenChainError("the header points to no page: nothing was written after it")


def _header(f: BinaryIO) -> tuple[str, bool, int]:
    """Byte order, whether BigTIFF, and the offset of the first directory."""
    head = f.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if len(head) < 8 or not order:
        raise BrokenChainError("no TIFF header")
    (magic,) = struct.unpack(order + "H", head[2:4])
    if magic == 42:
        return order, False, struct.unpack(order + "I", head[4:8])[0]
    if magic == 43 and len(head) == 16:
        return order, True, struct.unpack(order + "Q", head[8:16])[0]
    raise BrokenChainError("no TIFF header")


def _directory(
    f: BinaryIO, offset: int, size: int, order: str, big: bool, index: int
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The wanted tags of the directory at `offset`, and the offset of the next one."""
    f.seek(offset)
    width = 20 if big else 12
    counted = f.read(8 if big else 2)
    if len(counted) < (8 if big else 2):
        raise BrokenChainError(f"page {index} is cut off")
    (n,) = struct.unpack(order + ("Q" if big else "H"), counted)
    if not 0 < n <= MAX_ENTRIES:
        raise BrokenChainError(f"page {index} was reserved but not written (its directory has {n} entries)")
    block = f.read(n * width)
    following = f.read(8 if big else 4)
    if len(block) < n * width or len(following) < (8 if big else 4):
        raise BrokenChainError(f"page {index} is cut off")
    tags = {}
    for start in range(0, len(block), width):
        tag, kind = struct.unpack_from(order + "HH", block, start)
        if tag in _WANTED and kind in _CODES:
            tags[tag] = _values(f, block[start + 4 : start + width], kind, size, order, big, index)
    return tags, struct.unpack(order + ("Q" if big else "I"), following)[0]


def _values(f: BinaryIO, rest: bytes, kind: int, size: int, order: str, big: bool, index: int) -> tuple[int, ...]:
    """The numbers of one tag, stored in place when they fit."""
    code = _CODES[kind]
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), rest)
    room = rest[8 if big else 4 :]
    length = count * struct.calcsize(order + code)
    if length > len(room):
        (offset,) = struct.unpack(order + ("Q" if big else "I"), room)
        if offset + length > size:
            raise BrokenChainError(f"page {index} refers to {length} bytes at {offset}, beyond the end of the file")
        position = f.tell()
        f.seek(offset)
        room = f.read(length)
        f.seek(position)
    return struct.unpack_from(f"{order}{count}{code}", room)
