"""PNG files as single slices: proof that a file is whole from its chunks alone, and its pixels as intensities."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.volumes.colour import RGB_NAMES, alpha_note, colour_rule, luminance
from alcore.volumes.faults import readable
from alcore.volumes.port import Array, ReadOptions
from alcore.volumes.tiff_planes import SEGMENT_LIMIT_BYTES

MAGIC = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel of every colour type (ISO/IEC 15948, 11.2.2): grey, RGB, palette, grey and alpha, RGB and alpha."""
PALETTE = 3
PIECE_BYTES = 1 << 20
MOST_CHUNKS = 1 << 20


@dataclass(frozen=True)
class PngHeader:
    """What the first chunk of a PNG says."""

    width: int
    height: int
    bits: int
    colour: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of one sample."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)

    @property
    def nbytes(self) -> int:
        """Decoded."""
        return self.width * self.height * SAMPLES[self.colour] * self.dtype.itemsize


def header_of(path: Path) -> PngHeader:
    """The header of a PNG whose pixels are intensities or colours; raises UnreadableVolumeError for others."""
    with readable(path), open(path, "rb") as f:
        head = f.read(33)
    if len(head) < 33 or not head.startswith(MAGIC) or head[12:16] != b"IHDR":
        raise UnreadableVolumeError(f"{path}: no whole PNG header")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if colour not in SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise UnreadableVolumeError(f"{path}: no PNG of a known kind (colour type {colour}, {bits} bits)")
    if colour == PALETTE:
        raise UnreadableVolumeError(
            f"{path}: a palette image, its pixels are colour numbers, no intensities; save it as grey values"
        )
    if bits < 8:
        raise UnreadableVolumeError(f"{path}: {bits}-bit samples are not supported; save it with 8 or 16 bits")
    found = PngHeader(width, height, bits, colour)
    if not 0 < found.nbytes <= SEGMENT_LIMIT_BYTES:
        raise UnreadableVolumeError(f"{path}: claims {height} x {width} pixels, {found.nbytes / 2**30:.3g} GB")
    return found


def png_problem(path: Path) -> str:
    """What is wrong with the chunks of a PNG, read once from front to back; "" when it is whole. Decodes no pixel."""
    with readable(path), open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        f.seek(len(MAGIC))
        position, has_pixels = len(MAGIC), False
        for _ in range(MOST_CHUNKS):
            head = f.read(8)
            if len(head) < 8:
                return "cut off: its end chunk (IEND) is missing"
            (length,), kind = struct.unpack(">I", head[:4]), head[4:]
            position += 12 + length
            if position > size:
                return f"cut off: chunk {_word(kind)} would end at byte {position}, the file ends at {size}"
            crc = zlib.crc32(kind)
            while length:
                piece = f.read(min(length, PIECE_BYTES))
                if not piece:
                    return "became shorter while it was read"
                crc, length = zlib.crc32(piece, crc), length - len(piece)
            if f.read(4) != struct.pack(">I", crc):
                return f"damaged: the checksum of chunk {_word(kind)} before byte {position} is wrong"
            if kind == b"acTL":
                return "an animation, no image"
            has_pixels = has_pixels or kind == b"IDAT"
            if kind == b"IEND":
                return "" if has_pixels else "has no pixels (no IDAT chunk)"
        return f"has more than {MOST_CHUNKS} chunks"


def _word(kind: bytes) -> str:
    return repr(kind)[1:]


class PngSlice:
    """One PNG as a slice: height, width, dtype, channels by name; decoded whole when it is first read, and kept."""

    kind = "PNG"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self._header = path, header_of(path)
        self.height, self.width = self._header.height, self._header.width
        self.dtype, self.nbytes = self._header.dtype, self._header.nbytes
        self._samples = SAMPLES[self._header.colour]
        self.rule, notes = colour_rule(path, options) if self._samples > 2 else ("", ())
        self.channels = RGB_NAMES if self.rule == "channels" else ("",)
        self.notes = notes + alpha_note(self._samples in (2, 4))
        self._pixels: Array | None = None

    def read(self, channel: int, rows: slice, columns: slice, out: Array) -> None:
        """Part of one channel into `out` (rows, columns)."""
        if self._pixels is None:
            self._pixels = self._decode()
        box = self._pixels[rows, columns]
        out[...] = luminance(np.moveaxis(box[..., :3], -1, 0)) if self.rule == "luminance" else box[..., channel]

    def _decode(self) -> Array:
        """(rows, columns, samples)."""
        import imagecodecs

        if problem := png_problem(self.path):
            raise UnreadableVolumeError(f"{self.path}: {problem}")
        with readable(self.path):
            pixels: Array = imagecodecs.png_decode(self.path.read_bytes())
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        wanted = (self.height, self.width, self._samples)
        # a transparent colour beside the pixels (tRNS) is decoded as one sample more
        if pixels.shape[:2] != wanted[:2] or pixels.shape[2] < wanted[2] or pixels.dtype != self.dtype:
            raise UnreadableVolumeError(f"{self.path}: decodes to {pixels.shape} {pixels.dtype}, not to {wanted}")
        return pixels

    def close(self) -> None:
        """Let go of the pixels. Closing twice is harmless."""
        self._pixels = None
