"""Zeiss CZI as volumes: the package czifile reads the directory, tiles are put together where it says, pyramids left out."""

from __future__ import annotations

import struct
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes import czi_metadata
from alcore.volumes.czi_pixels import RAW, Kind, coloured, decoded, kind_of
from alcore.volumes.extras import needed
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.port import Array, ReadOptions
from alcore.volumes.rawfile import RawFile

MAGIC = b"ZISRAWFILE"
HEAD_BYTES = 32
"""Before the data of every segment: its name, and how long it is."""
POSITIONS = struct.Struct("<iqqi")
"""At byte 80: part of a file in several, positions of the directory and of the metadata, whether it is being updated."""
METADATA_LIMIT_BYTES = 256 << 20
DIMENSIONS = set("XYCZTMSBVIHR")
"""Width, height, channel, slice, time, tile of a mosaic, scene, block, view, illumination, phase, rotation."""
TILE_LIMIT_BYTES = 2 << 30
CACHE_BYTES = 128 << 20
"""Decoded subblocks kept; always at least the last one."""


@dataclass(frozen=True)
class _Tile:
    """A subblock of full resolution: where it lies in its scene (y, x) and how large it is. entry: czifile's."""

    order: int
    y: int
    x: int
    height: int
    width: int
    kind: Kind
    entry: Any


Planes = dict[tuple[int, int, int], list[_Tile]]
"""(t, c, z) -> tiles in the order in which they are laid."""


def signature(path: Path, head: bytes) -> bool:
    """True for CZI."""
    return head.startswith(MAGIC)


class CziFile(ImageFile):
    """One CZI file. Every combination of scene, block, view, phase, rotation and illumination is a scene."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        czifile = needed(path, "czifile", "czi", "a Zeiss CZI file")
        self._file = RawFile(path)
        self._czi: Any = None
        self._cache: OrderedDict[int, Array] = OrderedDict()
        self._cached_bytes = 0
        try:
            self.stored_bytes = self._file.size
            _prove_head(self._file)
            with readable(path), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._czi = czifile.CziFile(str(path), multifile=False)
                told = czi_metadata.parse(path, self._czi.metadata() or "")
                scenes = _scenes(path, self._czi.subblock_directory)
            _prove_sizes(path, scenes, told)
            self._planes = list(scenes.values())
            self.images = [_image(path, key, planes, told, list(scenes)) for key, planes in scenes.items()]
        except BaseException:
            self.close()
            raise
        self._corners = [_corner(planes) for planes in self._planes]
        self._firsts = [_firsts(planes) for planes in self._planes]

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        t0, c0, z0 = self._firsts[image]
        top, left = self._corners[image]
        about = self.images[image]
        out = np.zeros((*box.shape, about.samples), about.dtype)
        for index, z in enumerate(range(box.start[0], box.stop[0])):
            for tile in self._planes[image][t0 + time, c0 + channel, z0 + z]:
                y, x = tile.y - top, tile.x - left
                y0, y1 = max(box.start[1], y), min(box.stop[1], y + tile.height)
                x0, x1 = max(box.start[2], x), min(box.stop[2], x + tile.width)
                if y0 < y1 and x0 < x1:
                    pixels = self._pixels(tile, slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
                    out[index, y0 - box.start[1] : y1 - box.start[1], x0 - box.start[2] : x1 - box.start[2]] = pixels
        return out if about.samples > 1 else out[..., 0]

    def _pixels(self, tile: _Tile, rows: slice, columns: slice) -> Array:
        """(rows, columns, samples) of part of a tile."""
        offset, n = self._stored(tile)
        kind = tile.kind
        if kind.compression == RAW:
            line = tile.width * kind.stored_samples * kind.dtype.itemsize
            return coloured(self._file.plane(offset, kind.dtype, kind.stored_samples, line, rows, columns), kind)
        if offset not in self._cache:
            whole = decoded(self.path, self._file.bytes(offset, n), kind, tile.height, tile.width)
            self._cache[offset] = whole
            self._cached_bytes += whole.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(offset)
        return coloured(self._cache[offset][rows, columns], kind)

    def _stored(self, tile: _Tile) -> tuple[int, int]:
        """(offset, bytes) of the pixels of a tile, proved to lie in the file and to be those of that tile."""
        with readable(self.path):
            block = tile.entry.data_segment()
            there = block.directory_entry
        alike = ("axes", "start", "shape", "mosaic_index", "pixel_type", "compression")
        if any(getattr(there, name) != getattr(tile.entry, name) for name in alike):
            raise UnreadableVolumeError(f"{self.path}: the directory and a subblock disagree: damaged; {AGAIN}")
        offset, n = int(block.data_offset), int(block.data_size)
        kind = tile.kind
        least = tile.height * tile.width * kind.stored_samples * kind.dtype.itemsize if kind.compression == RAW else 1
        if n < least or offset + n > self._file.size:
            raise UnreadableVolumeError(
                f"{self.path}: a subblock has {n} bytes at byte {offset}, the file ends at {self._file.size}: "
                f"cut off; {AGAIN}"
            )
        return offset, n

    def problem(self) -> str:
        for planes in self._planes:
            for tiles in planes.values():
                for tile in tiles:
                    self._stored(tile)
        return ""

    def close(self) -> None:
        self._cache.clear()
        self._file.close()
        if self._czi is not None:
            self._czi.close()


def _prove_head(file: RawFile) -> None:
    """Raise unless the file was finished: its header names a directory and metadata that are there."""
    path = file.path
    if file.size < 112:
        raise UnreadableVolumeError(f"{path}: {file.size} bytes are less than the header of a CZI file; {AGAIN}")
    part, directory, metadata, is_pending = POSITIONS.unpack(file.bytes(80, POSITIONS.size))
    if part:
        raise UnreadableVolumeError(f"{path}: part {part} of a CZI in several files; save it as one file")
    if is_pending or not directory or not metadata:
        raise UnreadableVolumeError(f"{path}: was not finished: was it still being written? Copy or save it again")
    for position, name in ((directory, b"ZISRAWDIRECTORY"), (metadata, b"ZISRAWMETADATA")):
        if not file.bytes(position, HEAD_BYTES).startswith(name + b"\0"):
            raise UnreadableVolumeError(
                f"{path}: {name.decode()} is not at byte {position}, where the header says; {AGAIN}"
            )
    (xml_bytes,) = struct.unpack("<i", file.bytes(metadata + HEAD_BYTES, 4))
    if not 0 <= xml_bytes <= METADATA_LIMIT_BYTES:
        raise UnreadableVolumeError(f"{path}: {xml_bytes} bytes of metadata are absurd; {AGAIN}")
    (entries,) = struct.unpack("<i", file.bytes(directory + HEAD_BYTES, 4))
    if not 0 < entries <= file.size // HEAD_BYTES:
        raise UnreadableVolumeError(f"{path}: a directory of {entries} subblocks is absurd; {AGAIN}")


def _scenes(path: Path, entries: Sequence[Any]) -> dict[tuple[tuple[str, int], ...], Planes]:
    """Every scene, by what makes it different from others, with the tiles of its planes."""
    scenes: dict[tuple[tuple[str, int], ...], Planes] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        dims = {d.dimension: d for d in entry.dimension_entries}
        if not {"X", "Y"} <= set(dims) <= DIMENSIONS or min(d.size for d in dims.values()) < 1:
            raise UnreadableVolumeError(
                f"{path}: a subblock of dimensions {sorted(dims)} is not understood; save it as TIFF"
            )
        if any(dims[a].size != dims[a].stored_size for a in "YX"):
            continue  # a level of a pyramid
        if entry.file_part:
            raise UnreadableVolumeError(f"{path}: refers to another file of a CZI in several; save it as one file")
        if any(d.size != 1 for a, d in dims.items() if a not in "YX"):
            raise UnreadableVolumeError(f"{path}: subblocks of several planes are not understood; save it as TIFF")
        if dims["Y"].size * dims["X"].size * 16 > TILE_LIMIT_BYTES:
            raise UnreadableVolumeError(
                f"{path}: a subblock of {dims['Y'].size} x {dims['X'].size} pixels is absurd; {AGAIN}"
            )
        at = {a: d.start for a, d in dims.items()}
        key = tuple(sorted((a, n) for a, n in at.items() if a not in "YXMTCZ"))
        kind = kind_of(path, str(entry.pixel_type), int(entry.compression))
        tile = _Tile(at.get("M", 0), at["Y"], at["X"], dims["Y"].size, dims["X"].size, kind, entry)
        scenes[key][at.get("T", 0), at.get("C", 0), at.get("Z", 0)].append(tile)
    for planes in scenes.values():
        for tiles in planes.values():
            tiles.sort(key=lambda tile: tile.order)
    return dict(sorted(scenes.items()))


def _prove_sizes(path: Path, scenes: dict[tuple[tuple[str, int], ...], Planes], told: czi_metadata.CziMetadata) -> None:
    """Raise when the metadata promise more time points, channels, slices or scenes than any scene has."""
    found = {
        letter: max((len({key[i] for key in planes}) for planes in scenes.values()), default=0)
        for i, letter in enumerate("TCZ")
    }
    found["S"] = len({dict(key).get("S") for key in scenes})
    for letter, n in told.sizes.items():
        if n > found[letter]:
            words = {"T": "time points", "C": "channels", "Z": "slices", "S": "scenes"}[letter]
            raise UnreadableVolumeError(
                f"{path}: its metadata promise {n} {words}, {found[letter]} are there: stopped early, or damaged; "
                "copy or save it again"
            )


def _corner(planes: Planes) -> tuple[int, int]:
    """Smallest (y, x) of all tiles of a scene."""
    return min(t.y for tiles in planes.values() for t in tiles), min(t.x for tiles in planes.values() for t in tiles)


def _firsts(planes: Planes) -> tuple[int, int, int]:
    """Smallest t, c and z of a scene."""
    t, c, z = (min(key[i] for key in planes) for i in range(3))
    return t, c, z


def _image(
    path: Path,
    key: tuple[tuple[str, int], ...],
    planes: Planes,
    told: czi_metadata.CziMetadata,
    keys: Sequence[tuple[tuple[str, int], ...]],
) -> Image:
    """One scene. Raises UnreadableVolumeError when planes or tiles of it are missing or unlike each other."""
    tiles = [tile for plane in planes.values() for tile in plane]
    kinds = {(tile.kind.dtype.name, tile.kind.stored_samples) for tile in tiles}
    if len(kinds) > 1:
        raise UnreadableVolumeError(
            f"{path}: planes of different kinds in one scene ({sorted(kinds)}); save them apart"
        )
    first = _firsts(planes)
    sizes = [max(k[i] for k in planes) - first[i] + 1 for i in range(3)]
    wanted = sizes[0] * sizes[1] * sizes[2]
    if wanted != len(planes):
        raise UnreadableVolumeError(
            f"{path}: {len(planes)} of the {wanted} planes are there (T, C, Z = {tuple(sizes)}): stopped early, "
            "or damaged; copy or save it again"
        )
    counts = {len(plane) for plane in planes.values()}
    if len(counts) > 1:
        raise UnreadableVolumeError(
            f"{path}: its planes have {min(counts)} to {max(counts)} tiles: stopped early, or damaged; "
            "copy or save it again"
        )
    top, left = _corner(planes)
    height, width = max(t.y + t.height for t in tiles) - top, max(t.x + t.width for t in tiles) - left
    area = sum(t.height * t.width for t in next(iter(planes.values())))
    notes: tuple[str, ...] = ()
    n_tiles = counts.pop()
    if n_tiles > 1:
        notes = (f"put together from {n_tiles} tiles: where they overlap, the later one is seen",)
    if area < height * width:
        notes += ("its tiles do not cover all of it: the rest reads as 0",)
    if tiles[0].kind.stored_samples == 4:
        notes += ("1 more samples per pixel (transparency) are left out",)
    voxel_um, more = _voxel_um(told.pixel_um, sizes[2])
    names = told.channels[first[1] : first[1] + sizes[1]]
    return Image(
        name=_name(key, keys, told.scenes),
        n_times=sizes[0],
        channels=names if len(names) == sizes[1] else ("",) * sizes[1],
        n_slices=sizes[2],
        height=height,
        width=width,
        dtype=tiles[0].kind.dtype,
        samples=tiles[0].kind.samples,
        voxel_um=voxel_um,
        notes=notes + more,
    )


def _name(key: tuple[tuple[str, int], ...], keys: Sequence[tuple[tuple[str, int], ...]], scenes: dict[int, str]) -> str:
    """What makes a scene different from the others, for people."""
    words = []
    for letter, n in key:
        if len({dict(other).get(letter) for other in keys}) > 1:
            words.append((scenes.get(n) if letter == "S" else None) or f"{letter}{n}")
    return " ".join(words)


def _voxel_um(pixel_um: dict[str, float], n_slices: int) -> tuple[VoxelSize | None, tuple[str, ...]]:
    """(z, y, x) um, None where one is not told; a single slice gets the size of y. And notes."""
    z = pixel_um.get("Z") if n_slices > 1 else pixel_um.get("Y")
    y, x = pixel_um.get("Y"), pixel_um.get("X")
    if z is not None and y is not None and x is not None:
        return (z, y, x), ()
    return None, ("not calibrated in every direction: set voxel_um in the config",) if pixel_um else ()
