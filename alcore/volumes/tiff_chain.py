"""The chain of directories in a TIFF, walked with nothing but struct: an oracle that does not repair what it reads."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable

MAX_DIRECTORIES = 200_000
"""More pages than any acquisition has; a chain that is longer is not walked to its end."""
MAX_ENTRIES = 4096
"""More tags than any directory has."""
MAX_PARTS = 1 << 22
"""More strips or tiles than any page has."""
MAX_TEXT_BYTES = 64 << 20
"""No description of an acquisition is longer. It is not read here, but everybody else reads it whole."""

_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_TYPE_BYTES = {**dict.fromkeys((1, 2, 6, 7), 1), **dict.fromkeys((3, 8), 2), **dict.fromkeys((4, 9, 11, 13), 4)} | (
    dict.fromkeys((5, 10, 12, 16, 17, 18), 8)
)
_TEXT = 270
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 278, 284, 317, 322, 323
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_SUBFILE_TYPE, _SAMPLE_FORMAT, _FILL_ORDER = 254, 339, 266
_GEOMETRY = (_HEIGHT, _WIDTH, _BITS, _SAMPLES, _SAMPLE_FORMAT)
_LAYOUT = (_COMPRESSION, _PHOTOMETRIC, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _FILL_ORDER)
_DEFAULTS = dict.fromkeys((_SAMPLES, _SAMPLE_FORMAT, _COMPRESSION, _BITS, _PLANAR, _PREDICTOR, _FILL_ORDER), (1,))
_WANTED = {*_GEOMETRY, *_LAYOUT, _ROWS, _SUBFILE_TYPE, _STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES}

Kind = tuple[tuple[int, ...], ...]


class BrokenChainError(ValueError):
    """The chain does not hold; the message says where, and what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; cut off or damaged: {AGAIN}")


@dataclass(frozen=True)
class Directory:
    """One page as its directory describes it. offset: where the directory is. end: the byte after its last tag value."""

    index: int
    offset: int
    end: int
    tags: dict[int, tuple[int, ...]] = field(repr=False)

    @property
    def geometry(self) -> Kind:
        """What an image is: height, width, bits, samples and their format."""
        return tuple(self._value(tag) for tag in _GEOMETRY)

    @property
    def layout(self) -> Kind:
        """How it is stored: compression, colour, order of samples, strips or tiles."""
        rows = min(
            self._value(_ROWS) or (1 << 32,), self._value(_HEIGHT)
        )  # a strip may be as tall as the page, or taller
        return (*(self._value(tag) for tag in _LAYOUT), () if _TILE_WIDTH in self.tags else rows)

    def _value(self, tag: int) -> tuple[int, ...]:
        found = self.tags.get(tag, _DEFAULTS.get(tag, ()))
        # bits and format are given once per sample; some writers give one value for all
        return found[:1] if tag in (_BITS, _SAMPLE_FORMAT) and len(set(found)) == 1 else found

    @property
    def is_reduced(self) -> bool:
        """True for a thumbnail or pyramid level."""
        return bool(self.tags.get(_SUBFILE_TYPE, (0,))[:1] not in ((0,), ()) and self.tags[_SUBFILE_TYPE][0] & 1)

    @property
    def segments(self) -> list[tuple[int, int]]:
        """(offset, bytes) of every strip or tile. Raises BrokenChainError when the two lists differ in length."""
        offsets = self.tags.get(_TILE_OFFSETS, self.tags.get(_STRIP_OFFSETS, ()))
        counts = self.tags.get(_TILE_BYTES, self.tags.get(_STRIP_BYTES, ()))
        if len(offsets) != len(counts):
            raise BrokenChainError(f"page {self.index} has {len(offsets)} parts but {len(counts)} lengths")
        return list(zip(offsets, counts, strict=True))

    @property
    def raw_bytes(self) -> int:
        """Bytes that its pixels need at least when they are stored without compression; 0 when that cannot be said."""
        height, width, bits, samples, _ = self.geometry
        subsampled = self._value(_PHOTOMETRIC) == (6,)
        if self._value(_COMPRESSION) != (1,) or subsampled or any(len(v) != 1 for v in (height, width, bits, samples)):
            return 0
        return height[0] * width[0] * samples[0] * bits[0] // 8 if bits[0] % 8 == 0 else 0


class Page(NamedTuple):
    """What has to be known of a page to read it: where its directory is, and which pages are like it.

    n_bytes: of its image data as they are stored. end: the byte after all that belongs to it.
    """

    offset: int
    geometry: Kind
    layout: Kind
    is_reduced: bool
    n_bytes: int
    end: int


def pages_of(path: Path) -> tuple[Page, ...]:
    """All pages of the main chain, remembered for as long as the file stays the same.

    Raises UnreadableVolumeError or SourceMissingError.
    """
    with readable(path):
        found = os.stat(path)
        try:
            return _pages(path, (found.st_ino, found.st_size, found.st_mtime_ns))
        except BrokenChainError as e:
            raise UnreadableVolumeError(f"{path}: {e}") from e


@functools.lru_cache(maxsize=40)
def _pages(path: Path, _identity: tuple[int, int, int]) -> tuple[Page, ...]:
    alike: dict[Kind, Kind] = {}  # one object for equal ones: there may be many thousand pages

    def page(d: Directory) -> Page:
        geometry, layout = alike.setdefault(d.geometry, d.geometry), alike.setdefault(d.layout, d.layout)
        segments = d.segments
        end = max(d.end, *(o + n for o, n in segments), 0)
        return Page(d.offset, geometry, layout, d.is_reduced, sum(n for _, n in segments), end)

    return tuple(page(d) for d in walk(path))


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
                raise BrokenChainError(f"its list of pages goes round in circles at page {index}")
            seen.add(offset)
            if offset + 2 > size:
                raise BrokenChainError(
                    f"page {index} would begin at byte {offset}, beyond the end of the file ({size})"
                )
            tags, end, following = _directory(f, offset, size, order, big, index)
            yield Directory(index, offset, end, tags)
            offset = following
        if not seen:
            raise BrokenChainError("the header points to no page: nothing was written after it")


def _header(f: BinaryIO) -> tuple[str, bool, int]:
    """Byte order, whether BigTIFF, and the offset of the first directory."""
    head = f.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if len(head) < 8 or not order:
        raise BrokenChainError("its header is no TIFF header")
    (magic,) = struct.unpack(order + "H", head[2:4])
    if magic == 42:
        return order, False, struct.unpack(order + "I", head[4:8])[0]
    if magic == 43 and len(head) == 16:
        return order, True, struct.unpack(order + "Q", head[8:16])[0]
    raise BrokenChainError("its header is no TIFF header")


def _directory(
    f: BinaryIO, offset: int, size: int, order: str, big: bool, index: int
) -> tuple[dict[int, tuple[int, ...]], int, int]:
    """The wanted tags of the directory at `offset`, the byte after all its tag values, and the offset of the next one."""
    f.seek(offset)
    width = 20 if big else 12
    counted = f.read(8 if big else 2)
    if len(counted) < (8 if big else 2):
        raise BrokenChainError(f"page {index} ends in the middle")
    (n,) = struct.unpack(order + ("Q" if big else "H"), counted)
    if not 0 < n <= MAX_ENTRIES:
        raise BrokenChainError(f"page {index} was reserved but not written (its directory has {n} entries)")
    block = f.read(n * width)
    following = f.read(8 if big else 4)
    if len(block) < n * width or len(following) < (8 if big else 4):
        raise BrokenChainError(f"page {index} ends in the middle")
    tags, end = {}, f.tell()
    for start in range(0, len(block), width):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), block, start)
        length = count * _TYPE_BYTES.get(kind, 1)
        if length > (8 if big else 4):
            (at,) = struct.unpack_from(order + ("Q" if big else "I"), block, start + (12 if big else 8))
            end = max(end, at + length)
        if tag in _WANTED and kind in _CODES:
            tags[tag] = _values(f, block[start + 4 : start + width], kind, size, order, big, index)
        elif tag == _TEXT and count > MAX_TEXT_BYTES:
            raise BrokenChainError(f"page {index} has a description of more than {MAX_TEXT_BYTES >> 20} MB")
    return tags, end, struct.unpack(order + ("Q" if big else "I"), following)[0]


def _values(f: BinaryIO, rest: bytes, kind: int, size: int, order: str, big: bool, index: int) -> tuple[int, ...]:
    """The numbers of one tag, stored in place when they fit."""
    code = _CODES[kind]
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), rest)
    if count > MAX_PARTS:
        raise BrokenChainError(f"page {index} has a tag of {count} numbers, beyond reason")
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
