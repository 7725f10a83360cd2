"""Random access to the planes of an image in a TIFF, with bounded memory whatever its size and compression."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore.errors import SourceChangedError, UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import Array
from alcore.volumes.tiff_ome import is_companion
from alcore.volumes.tiff_series import Stack, stacks_of

CACHE_BYTES = 128 << 20
"""Decoded strips and tiles kept; always at least the last one."""
SEGMENT_LIMIT_BYTES = 2 << 30
"""No strip or tile of an acquisition decodes to more than this; one that does would be held in memory whole."""

ALPHA = (1, 2)
"""Values of ExtraSamples that mean transparency."""
ROW_GAP_BYTES = 32 << 10
"""Up to so many unwanted bytes per row, whole rows in one call are faster than a call per row."""


HARMLESS = ("failed to read display settings", "failed to read comments")
"""Complaints about what Micro-Manager often leaves damaged, and nobody needs."""


class _Complaints(logging.Handler):
    """Collects what tifffile only logs: it returns fewer slices and says so nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if not any(harmless in line for harmless in HARMLESS):
            self.lines.append(line)

    def __enter__(self) -> list[str]:
        logging.getLogger("tifffile").addHandler(self)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tifffile").removeHandler(self)


class TiffPlanes:
    """The planes (Y, X) of one image in a TIFF, in file order.

    axes, shape: tifffile's letters and sizes, Y and X last; samples of colour pixels are no dimension here: `samples` counts
    them. dtype: native byte order. scene: which image, of `n_scenes`, called `name`. directories: offsets of those that hold the planes,
    for files whose order is told elsewhere (axes is then "IYX").
    Raises UnreadableVolumeError for a file with no image or missing planes.
    Planes are read with pread rather than mapped: a file that is cut while it is read would kill a mapping process.
    """

    def __init__(
        self, path: Path, scene: int = 0, directories: Sequence[int] | None = None, cache_bytes: int | None = None
    ) -> None:
        self.path = path
        self._cache_limit = CACHE_BYTES if cache_bytes is None else cache_bytes
        self._cache: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._cached_bytes = 0
        self._frame: tuple[int, Any] = (-1, None)
        with contextlib.ExitStack() as undo, readable(path):
            self._file = undo.enter_context(open(path, "rb"))
            self.file_bytes = os.fstat(self._file.fileno()).st_size
            with _Complaints() as complaints:
                self._tif = undo.enter_context(tifffile.TiffFile(self._file, _multifile=False))
                if directories is None:
                    stacks = stacks_of(path, self._tif)
                    self.n_scenes = len(stacks)
                    stack = stacks[min(scene, len(stacks) - 1)]
                else:
                    self.n_scenes = 1
                    self._tif.filehandle.seek(directories[0])
                    key = tifffile.TiffPage(self._tif, index=0)
                    shape = (len(directories), int(key.imagelength), int(key.imagewidth))
                    stack = Stack("IYX", shape, key, directories)
                self._start, self._pages, self.name = stack.start, stack.pages, stack.name
                self._per_page = stack.per_page
                self._measure(stack.keyframe, stack.axes, stack.shape)
            if complaints:
                raise UnreadableVolumeError(f"{path}: incomplete or damaged ({_plain(complaints[0])}); {AGAIN}")
            if self._start is not None and (missing := self._start + self.nbytes - self.file_bytes) > 0:
                raise UnreadableVolumeError(
                    f"{self.path}: {missing} bytes of image data are missing at the end; {AGAIN}"
                )
            self._close = undo.pop_all()

    def _measure(self, page: Any, axes: str, shape: tuple[int, ...]) -> None:
        """Shape and layout, from the first page."""
        if page.dtype is None or 0 in shape:
            raise UnreadableVolumeError(
                f"{self.path}: {page.bitspersample}-bit samples of format {page.sampleformat} are not supported; "
                "save it with 8, 16 or 32 bits"
                if page.dtype is None
                else f"{self.path}: an image of shape {shape} is empty; {AGAIN}"
            )
        self._keyframe = page
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self.photometric = getattr(page.photometric, "name", str(page.photometric))
        self.compression = int(page.compression)
        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        self.samples = int(page.samplesperpixel)
        self.n_alpha = sum(int(extra) in ALPHA for extra in page.extrasamples or ())
        self._planar = self.samples > 1 and int(page.planarconfig) == 2
        if self._per_page > 1:
            self.samples, self.n_alpha, self.photometric = 1, 0, "MINISBLACK"
        self.axes = axes.replace("S", "")
        self.shape = tuple(int(n) for letter, n in zip(axes, shape, strict=True) if letter != "S")
        if self.shape[-2:] != (self.height, self.width):
            raise UnreadableVolumeError(
                f"{self.path}: pages of {self.height} x {self.width} do not hold planes of shape {self.shape[-2:]}; "
                f"{AGAIN}"
            )
        self.n_planes = math.prod(self.shape) // (self.height * self.width)
        self.nbytes = math.prod(self.shape) * self.samples * self.dtype.itemsize
        self.tile = (
            (int(page.tilelength), int(page.tilewidth))
            if page.is_tiled
            else (min(int(page.rowsperstrip), self.height), self.width)
        )
        decoded = math.prod(self.tile) * self.dtype.itemsize * (1 if self._planar else self.samples)
        if decoded > SEGMENT_LIMIT_BYTES and not page.is_final:
            raise UnreadableVolumeError(
                f"{self.path}: one strip or tile would decode to {decoded / 2**30:.1f} GB; "
                "save it in smaller strips or tiles"
            )

    @property
    def imagej(self) -> dict[str, Any] | None:
        """ImageJ's metadata, or what tifffile wrote in the same words; None for other files."""
        if self._tif.is_imagej:
            return dict(self._tif.imagej_metadata or {})
        return dict(self._tif.shaped_metadata[0]) if self._tif.shaped_metadata else None

    @property
    def is_imagej(self) -> bool:
        """True when ImageJ's own description is there."""
        return bool(self._tif.is_imagej)

    @property
    def resolution_xy(self) -> tuple[float | None, float | None]:
        """Pixels per unit (x, y) from the resolution tags."""
        values = []
        for name in ("XResolution", "YResolution"):
            tag = self._keyframe.tags.get(name)
            try:
                values.append(tag.value[0] / tag.value[1] if tag is not None else None)
            except (TypeError, IndexError, ZeroDivisionError):
                values.append(None)
        return values[0], values[1]

    def read(self, plane: int, rows: slice, columns: slice, out: Array, sample: int = 0) -> None:
        """Decode one sample of part of one plane into `out` (rows, columns).

        Raises UnreadableVolumeError or SourceChangedError.
        """
        if self._per_page > 1:
            plane, sample = divmod(plane, self._per_page)
        with readable(self.path):
            offset = self._raw_offset(plane)
            if offset is None:
                self._read_segments(plane, rows, columns, out, sample)
            else:
                self._read_raw(offset, rows, columns, out, sample)

    def _page(self, plane: int) -> Any:
        """tifffile's page or frame of one plane."""
        page = self._pages[plane]
        if not isinstance(page, int):
            return page
        if page == self._keyframe.offset:
            return self._keyframe
        if self._frame[0] != page:
            self._frame = (page, tifffile.TiffFrame(self._tif, plane, offset=page, keyframe=self._keyframe))
        return self._frame[1]

    def _raw_offset(self, plane: int) -> int | None:
        """Where the plane lies uncompressed and in one piece, if it does."""
        if self._start is not None:
            return self._start + plane * self.height * self.width * self.samples * self.dtype.itemsize
        page = self._page(plane)
        if not page.is_final:
            return None
        offsets, counts = page.dataoffsets, page.databytecounts
        pieces = zip(offsets, counts, offsets[1:], strict=False)
        return int(offsets[0]) if all(offset + n == after for offset, n, after in pieces) else None

    def _read_raw(self, offset: int, rows: slice, columns: slice, out: Array, sample: int) -> None:
        stored = self.dtype.newbyteorder(self._tif.byteorder)
        beside = 1 if self._planar else self.samples  # samples of one pixel that lie side by side
        if self._planar:
            offset += sample * self.height * self.width * stored.itemsize
            sample = 0
        line = self.width * beside * stored.itemsize
        first, length = (
            columns.start * beside * stored.itemsize,
            (columns.stop - columns.start) * beside * stored.itemsize,
        )
        if line - length <= ROW_GAP_BYTES:
            data = self._pread(offset + rows.start * line, (rows.stop - rows.start) * line)
            out[...] = np.frombuffer(data, stored).reshape(-1, self.width, beside)[:, columns, sample]
            return
        for index, row in enumerate(range(rows.start, rows.stop)):
            data = self._pread(offset + row * line + first, length)
            out[index] = np.frombuffer(data, stored).reshape(-1, beside)[:, sample]

    def _read_segments(self, plane: int, rows: slice, columns: slice, out: Array, sample: int) -> None:
        height, width = self.tile
        across = -(-self.width // width)
        skipped = sample * across * -(-self.height // height) if self._planar else 0
        for i in range(rows.start // height, -(-rows.stop // height)):
            for j in range(columns.start // width, -(-columns.stop // width)):
                segment = self._segment(plane, i * across + j, skipped)[..., 0 if self._planar else sample]
                top, left = i * height, j * width
                y0, y1 = max(rows.start, top), min(rows.stop, top + segment.shape[0])
                x0, x1 = max(columns.start, left), min(columns.stop, left + segment.shape[1])
                out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = segment[
                    y0 - top : y1 - top, x0 - left : x1 - left
                ]

    def _segment(self, plane: int, index: int, skipped: int) -> Array:
        """One decoded strip or tile (rows, columns, samples), cached. skipped: parts of other samples before its own."""
        part = index + skipped
        key = (plane, part)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        page = self._page(plane)
        if part >= len(page.dataoffsets) or not page.dataoffsets[part] or not page.databytecounts[part]:
            raise UnreadableVolumeError(f"{self.path}: part {part} of plane {plane} was never written; {AGAIN}")
        data = self._pread(int(page.dataoffsets[part]), int(page.databytecounts[part]))
        decoded, where, shape = self._keyframe.decode(data, part, jpegtables=page.jpegtables)
        top, left = (index // -(-self.width // self.tile[1])) * self.tile[0], where[3]
        wanted = (min(self.tile[0], self.height - top), min(self.tile[1], self.width - left))
        beside = 1 if self._planar else self.samples
        if decoded is None or where[2] != top or shape[0] != 1 or shape[3] != beside:
            raise UnreadableVolumeError(
                f"{self.path}: part {part} of plane {plane} is not laid out as a plane; {AGAIN}"
            )
        segment: Array = decoded[0]
        if segment.shape[0] < wanted[0] or segment.shape[1] < wanted[1]:
            raise UnreadableVolumeError(
                f"{self.path}: part {part} of plane {plane} decodes to {segment.shape[:2]} only; {AGAIN}"
            )
        self._cache[key] = segment
        self._cached_bytes += segment.nbytes
        while self._cached_bytes > self._cache_limit and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return segment

    def _pread(self, offset: int, length: int) -> bytes:
        if offset + length > self.file_bytes:
            raise UnreadableVolumeError(
                f"{self.path}: image data at byte {offset} lie beyond the end of the file; {AGAIN}"
            )
        parts, got = [], 0
        while got < length:
            part = os.pread(self._file.fileno(), length - got, offset + got)
            if not part:
                raise SourceChangedError(f"{self.path}: became shorter while it was read")
            parts.append(part)
            got += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        self._cache.clear()
        self._close.close()


def _plain(complaint: str) -> str:
    """What tifffile says is wrong, without what it says of itself."""
    return re.sub(r"<tifffile[^>]*>:?\s*", "", complaint)[:200]


def signature(path: Path, head: bytes) -> bool:
    """True when the first bytes are those of a TIFF or BigTIFF of either byte order, or of OME-XML that speaks of TIFFs."""
    tiff = len(head) >= 4 and any(
        head[:2] == mark and struct.unpack(order + "H", head[2:4])[0] in (42, 43)
        for mark, order in ((b"II", "<"), (b"MM", ">"))
    )
    return tiff or is_companion(path, head)
