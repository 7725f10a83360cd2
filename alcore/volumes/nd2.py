"""Nikon ND2 as volumes: the package nd2 tells what the frames mean, their bytes are read at the places in the file's own map."""

from __future__ import annotations

import math
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes.extras import needed
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.port import MOST_PARTS, Array, ReadOptions
from alcore.volumes.rawfile import RawFile

MAGIC = struct.pack("<I", 0x0ABECEDA)
LEGACY = b"\x00\x00\x00\x0cjP  "
"""Where a JPEG 2000 file begins: ND2 before NIS-Elements 3."""
MAP_SIGNATURE = b"ND2 CHUNK MAP SIGNATURE 0000001!"
MAP_LIMIT_BYTES = 1 << 30
FRAME_LIMIT_BYTES = 2 << 30
FRAME_NAME = re.compile(rb"ImageDataSeq\|(\d{1,9})!")
STAMP_BYTES = 8
"""Before the pixels of a frame: its time."""
LOOPS = {"TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z", "CustomLoop": "U", "Unknown": "U"}


def signature(path: Path, head: bytes) -> bool:
    """True for ND2, and for JPEG 2000 that is called so."""
    return head.startswith(MAGIC) or (head.startswith(LEGACY) and path.suffix.lower() == ".nd2")


class Nd2File(ImageFile):
    """One ND2 file. Every position is a scene."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        nd2 = needed(path, "nd2", "nd2", "a Nikon ND2 file")
        self._file = RawFile(path)
        self._decoded: tuple[int, Array] | None = None
        try:
            if not self._file.bytes(0, min(4, self._file.size)).startswith(MAGIC):
                raise UnreadableVolumeError(
                    f"{path}: an ND2 file of NIS-Elements before version 3; save it again as ND2 or as TIFF"
                )
            self.stored_bytes = self._file.size
            self._frames = _frames(self._file)
            with readable(path), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with nd2.ND2File(path) as f:
                    self._interpret(f)
        except BaseException:
            self.close()
            raise

    def _interpret(self, f: Any) -> None:
        told, path = f.attributes, self.path
        self._dtype = np.dtype(f"<{told.pixelDataType[0]}{told.bitsPerComponentInMemory // 8}")
        self._height, self._width, self._beside = int(told.heightPx), int(told.widthPx), int(told.componentCount)
        self._row_bytes = int(told.widthBytes or self._width * self._beside * self._dtype.itemsize)
        self._is_zipped = told.compressionType == "lossless"
        if told.compressionType == "lossy":
            raise UnreadableVolumeError(f"{path}: an ND2 file with lossy compression; save it again without")
        if min(self._height, self._width, self._beside) < 1 or self._frame_bytes > FRAME_LIMIT_BYTES:
            raise UnreadableVolumeError(
                f"{path}: frames of {self._height} x {self._width} x {self._beside} are absurd; {AGAIN}"
            )
        if self._row_bytes < self._width * self._beside * self._dtype.itemsize:
            raise UnreadableVolumeError(
                f"{path}: rows of {self._row_bytes} bytes do not hold {self._width} pixels; {AGAIN}"
            )
        n_channels = int(told.channelCount or 1)
        per_channel, rest = divmod(self._beside, n_channels)
        if rest or per_channel not in (1, 3):
            n_channels, per_channel = self._beside, 1  # as the package does: monochrome channels
        self._samples = per_channel
        names = [str(c.channel.name) for c in f.metadata.channels]
        self._loops = _loops(path, f.experiment)
        sizes, wanted = dict(self._loops), math.prod(n for _, n in self._loops)
        if wanted != len(self._frames) or (self._frames and max(self._frames) >= wanted):
            raise UnreadableVolumeError(
                f"{path}: its experiment speaks of {wanted} frames, {len(self._frames)} are there: stopped early, "
                "or damaged; "
                "save it again from NIS-Elements"
            )
        depth = sizes.get("Z", 1)
        voxel_um, notes = _voxel_um(f.metadata.channels[0].volume, depth)
        image = Image(
            name="",
            n_times=sizes.get("T", 1),
            channels=tuple(names) if len(names) == n_channels else ("",) * n_channels,
            n_slices=depth,
            height=self._height,
            width=self._width,
            dtype=self._dtype,
            samples=self._samples,
            voxel_um=voxel_um,
            notes=notes,
        )
        self._others = sizes.get("U", 1)
        n_scenes = sizes.get("P", 1) * self._others
        if n_scenes > MOST_PARTS:
            raise UnreadableVolumeError(f"{path}: claims to hold {n_scenes} positions; {AGAIN}")
        self.images = (image,) * n_scenes

    @property
    def _frame_bytes(self) -> int:
        return self._height * self._row_bytes

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        z, rows, columns = box.slices
        first = channel * self._samples
        out = np.empty((*box.shape, self._samples), self._dtype)
        for index, slice_ in enumerate(range(z.start, z.stop)):
            at = {"P": image // self._others, "U": image % self._others, "T": time, "Z": slice_}
            number = 0
            for letter, n in self._loops:
                number = number * n + at[letter]
            out[index] = self._pixels(number, rows, columns)[..., first : first + self._samples]
        return out if self._samples > 1 else out[..., 0]

    def _pixels(self, number: int, rows: slice, columns: slice) -> Array:
        """(rows, columns, components) of a frame."""
        offset, n = self._payload(number)
        if not self._is_zipped:
            return self._file.plane(offset, self._dtype, self._beside, self._row_bytes, rows, columns)
        if self._decoded is None or self._decoded[0] != number:
            with readable(self.path):
                unzip = zlib.decompressobj()
                data = unzip.decompress(self._file.bytes(offset, n), self._frame_bytes + 1)
            if len(data) != self._frame_bytes or not unzip.eof:  # the checksum is at the end
                raise UnreadableVolumeError(
                    f"{self.path}: frame {number} does not decode to its {self._frame_bytes} bytes; {AGAIN}"
                )
            pixel = self._beside * self._dtype.itemsize
            shape, strides = (self._height, self._width, self._beside), (self._row_bytes, pixel, self._dtype.itemsize)
            self._decoded = number, np.ndarray(shape, self._dtype, data, 0, strides)
        return self._decoded[1][rows, columns]

    def _payload(self, number: int) -> tuple[int, int]:
        """(offset, bytes) of the stored pixels of a frame, proved against the head of its chunk."""
        where = self._frames[number]
        magic, name_bytes, n = struct.unpack("<4sIQ", self._file.bytes(where, 16))
        name = b"ImageDataSeq|%d!" % number
        if magic != MAGIC or self._file.bytes(where + 16, len(name)) != name:
            raise UnreadableVolumeError(f"{self.path}: frame {number} is not where the map of the file says; {AGAIN}")
        offset, n = where + 16 + name_bytes + STAMP_BYTES, n - STAMP_BYTES
        if n < (1 if self._is_zipped else self._frame_bytes) or offset + n > self._file.size:
            raise UnreadableVolumeError(f"{self.path}: frame {number} has {n} bytes at byte {offset}: cut off; {AGAIN}")
        return offset, n

    def problem(self) -> str:
        for number in range(len(self._frames)):
            self._payload(number)
        return ""

    def close(self) -> None:
        self._file.close()


def _frames(file: RawFile) -> dict[int, int]:
    """Number of every frame -> byte where its chunk begins, from the map of chunks that is written last."""
    end = file.bytes(file.size - 40, 40) if file.size >= 40 else b""
    if end[:32] != MAP_SIGNATURE:
        raise UnreadableVolumeError(
            f"{file.path}: its end, the map of chunks, is missing; was the file still being written? "
            "Copy or save it again"
        )
    (where,) = struct.unpack("<Q", end[32:])
    magic, name_bytes, n = struct.unpack("<4sIQ", file.bytes(where, 16))
    if magic != MAGIC or n > MAP_LIMIT_BYTES:
        raise UnreadableVolumeError(f"{file.path}: its map of chunks is not where the end of the file says; {AGAIN}")
    data = file.bytes(where + 16 + name_bytes, n)
    frames: dict[int, int] = {}
    position = 0
    while not data.startswith(MAP_SIGNATURE, position):
        at = data.find(b"!", position) + 1
        if at == 0 or at + 16 > len(data):
            raise UnreadableVolumeError(f"{file.path}: its map of chunks is damaged; {AGAIN}")
        if found := FRAME_NAME.fullmatch(data, position, at):
            frames[int(found[1])] = struct.unpack_from("<Q", data, at)[0]
        position = at + 16
    return frames


def _loops(path: Path, experiment: list[Any]) -> tuple[tuple[str, int], ...]:
    """(T, P, Z or U for others; how often), outermost first."""
    loops = tuple((LOOPS.get(str(loop.type), "?"), int(loop.count)) for loop in experiment)
    letters = [letter for letter, _ in loops]
    if "?" in letters or len(set(letters)) < len(letters) or any(n < 1 for _, n in loops):
        told = ", ".join(f"{loop.type} ({loop.count})" for loop in experiment)
        raise UnreadableVolumeError(f"{path}: the loops of its experiment are not understood: {told}; save it as TIFF")
    return loops


def _voxel_um(volume: Any, n_slices: int) -> tuple[VoxelSize | None, tuple[str, ...]]:
    """(z, y, x) um where the file says that it is calibrated, else None; a single slice gets the size of y. And notes."""
    (x, y, z), (has_x, has_y, has_z) = volume.axesCalibration, volume.axesCalibrated
    if n_slices == 1:
        z, has_z = y, has_y
    known = [bool(has) and math.isfinite(n) and n > 0 for n, has in ((z, has_z), (y, has_y), (x, has_x))]
    if all(known):
        return (float(z), float(y), float(x)), ()
    return None, ("not calibrated in every direction: set voxel_um in the config",) if any(known) else ()
