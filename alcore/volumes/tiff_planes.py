"""Random access to the planes of an image in a TIFF, with bounded memory whatever its size and compression."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore.errors import SourceChangedError, UnreadableVolumeError
from alcore.volumes.faults import readable
from alcore.volumes.port import Array
from alcore.volumes.tiff_ome import OmeImage, is_companion, parse

CACHE_BYTES = 128 << 20
"""Decoded strips and tiles kept; always at least the last one."""
SEGMENT_LIMIT_BYTES = 2 << 30
"""No strip or tile of an acquisition decodes to more than this; one that does would be held in memory whole."""


ALPHA = (1, 2)
"""Values of ExtraSamples that mean transparency."""
ROW_GAP_BYTES = 32 << 10
"""Up to so many unwanted bytes per row, whole rows in one call are faster than a call per row."""


class _Complaints(logging.Handler):
    """Collects what tifffile only logs: it returns fewer slices and says so nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("tifffile").addHandler(self)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tifffile").removeHandler(self)


class TiffPlanes:
    """The planes (Y, X) of one image in a TIFF, in file order.

    axes, shape: tifffile's letters and sizes, length-1 dimensions left out, Y and X kept; samples of colour pixels are no
    dimension here: `samples` counts them. dtype: native byte order. scene: which image, of `n_scenes`.
    pages: numbers of the directories that hold the planes, for files whose order is told elsewhere (axes is then "IYX").
    Raises UnreadableVolumeError for a file with no image, missing planes or parts in other files.
    Planes are read with pread rather than mapped: a file that is cut while it is read would kill a mapping process.
    """

    def __init__(
        self, path: Path, scene: int = 0, pages: Sequence[int] | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.path = path
        self._cache_limit = cache_bytes
        self._cache: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._cached_bytes = 0
        self._offset: int | None = None
        self._pages: list[Any] = []
        with contextlib.ExitStack() as undo, readable(path):
            self._file = undo.enter_context(open(path, "rb"))
            self.file_bytes = os.fstat(self._file.fileno()).st_size
            with _Complaints() as complaints:
                self._tif = undo.enter_context(tifffile.TiffFile(self._file, _multifile=False))
                self.ome: OmeImage | None = None
                if pages is None:
                    found = _series(path, self._tif)
                    self.n_scenes = len(found)
                    self._series = found[scene]
                    if self._tif.is_ome:
                        self.ome = _own_image(path, self._tif.ome_metadata or "", scene, len(found))
                    self._measure(self._series.keyframe, str(self._series.axes), tuple(self._series.shape))
                    self._locate(self._series)
                else:
                    self.n_scenes = 1
                    chosen = [self._tif.pages[number].aspage() for number in pages]
                    key = chosen[0]
                    self._measure(key, "IYX", (len(chosen), int(key.imagelength), int(key.imagewidth)))
                    self._pages = chosen
            if complaints:
                raise UnreadableVolumeError(f"{path}: incomplete or damaged TIFF ({complaints[0][:300]})")
            self._close = undo.pop_all()

    def _measure(self, page: Any, axes: str, shape: tuple[int, ...]) -> None:
        """Shape and layout, from the first page."""
        if page.dtype is None or 0 in shape:
            raise UnreadableVolumeError(
                f"{self.path}: {page.bitspersample}-bit samples of format {page.sampleformat} are not supported"
                if page.dtype is None
                else f"{self.path}: an image of shape {shape} is empty"
            )
        self._keyframe = page
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self.photometric = getattr(page.photometric, "name", str(page.photometric))
        self.compression = int(page.compression)
        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        self.samples = int(page.samplesperpixel)
        self.n_alpha = sum(int(extra) in ALPHA for extra in page.extrasamples or ())
        self._planar = self.samples > 1 and int(page.planarconfig) == 2
        self.axes = axes.replace("S", "")
        self.shape = tuple(int(n) for letter, n in zip(axes, shape, strict=True) if letter != "S")
        if self.shape[-2:] != (self.height, self.width):
            raise UnreadableVolumeError(
                f"{self.path}: pages of {self.height} x {self.width} do not hold planes of shape {self.shape[-2:]}"
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
            raise UnreadableVolumeError(f"{self.path}: one strip or tile would decode to {decoded / 2**30:.1f} GB")

    def _locate(self, series: Any) -> None:
        """Where the planes are; raises unless every one that is promised is there."""
        self._offset = None if series.dataoffset is None else int(series.dataoffset)
        self._pages = [] if self._offset is not None else list(series.pages)
        declared = self.ome.n_planes if self.ome else _imagej_planes(self._tif)
        if declared is not None and declared != self.n_planes:
            raise UnreadableVolumeError(
                f"{self.path}: its metadata promise {declared} planes, {self.n_planes} are there; "
                "was the file still being written?"
            )
        if self._offset is not None:
            missing = self._offset + self.nbytes - self.file_bytes
            if missing > 0:
                raise UnreadableVolumeError(f"{self.path}: {missing} bytes of image data are missing at the end")
            return
        if len(self._pages) != self.n_planes or any(page is None for page in self._pages):
            present = sum(page is not None for page in self._pages)
            raise UnreadableVolumeError(f"{self.path}: {present} planes are there, {self.n_planes} are declared")
        if any(page.parent is not self._tif for page in self._pages):
            raise UnreadableVolumeError(f"{self.path}: its planes are spread over several files; save it as one")

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
    def ome_xml(self) -> str | None:
        """The whole OME-XML; None for other files."""
        return self._tif.ome_metadata if self._tif.is_ome else None

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
        with readable(self.path):
            offset = self._raw_offset(plane)
            if offset is None:
                self._read_segments(plane, rows, columns, out, sample)
            else:
                self._read_raw(offset, rows, columns, out, sample)

    def _raw_offset(self, plane: int) -> int | None:
        """Where the plane lies uncompressed and in one piece, if it does."""
        if self._offset is not None:
            return self._offset + plane * self.height * self.width * self.samples * self.dtype.itemsize
        page = self._pages[plane]
        return int(page.dataoffsets[0]) if page.is_final else None

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
        key = (plane, index + skipped)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        page = self._pages[plane]
        part = index + skipped
        if part >= len(page.dataoffsets) or not page.dataoffsets[part] or not page.databytecounts[part]:
            raise UnreadableVolumeError(f"{self.path}: part {part} of plane {plane} was never written")
        data = self._pread(int(page.dataoffsets[part]), int(page.databytecounts[part]))
        decoded, where, shape = self._keyframe.decode(data, part, jpegtables=page.jpegtables)
        top, left = (index // -(-self.width // self.tile[1])) * self.tile[0], where[3]
        wanted = (min(self.tile[0], self.height - top), min(self.tile[1], self.width - left))
        beside = 1 if self._planar else self.samples
        if decoded is None or where[2] != top or shape[0] != 1 or shape[3] != beside:
            raise UnreadableVolumeError(f"{self.path}: part {part} of plane {plane} is not laid out as a plane")
        segment: Array = decoded[0]
        if segment.shape[0] < wanted[0] or segment.shape[1] < wanted[1]:
            raise UnreadableVolumeError(
                f"{self.path}: part {part} of plane {plane} decodes to {segment.shape[:2]} only"
            )
        self._cache[key] = segment
        self._cached_bytes += segment.nbytes
        while self._cached_bytes > self._cache_limit and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return segment

    def _pread(self, offset: int, length: int) -> bytes:
        if offset + length > self.file_bytes:
            raise UnreadableVolumeError(f"{self.path}: image data at byte {offset} lie beyond the end of the file")
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


def _series(path: Path, tif: tifffile.TiffFile) -> list[Any]:
    """The images of the file, thumbnails and pyramid levels aside."""
    found = [s for s in tif.series if not s.keyframe.is_reduced] or list(tif.series)
    if not found:
        raise UnreadableVolumeError(f"{path}: no image in the file")
    if len(found) > 1 and not tif.is_ome:
        shapes = ", ".join(str(tuple(s.shape)) for s in found[:4])
        raise UnreadableVolumeError(
            f"{path}: {len(found)} images of different kinds ({shapes}) in one file; save the wanted one on its own"
        )
    return found


def _imagej_planes(tif: tifffile.TiffFile) -> int | None:
    """How many planes ImageJ's description promises."""
    if not tif.is_imagej:
        return None
    metadata = tif.imagej_metadata or {}
    counts = [metadata.get(key, 1) for key in ("channels", "slices", "frames")]
    stated = [n for n in (*counts, metadata.get("images", 1)) if isinstance(n, int)]
    return max(math.prod(stated[:3]), stated[-1]) if len(stated) == 4 else None


def _own_image(path: Path, xml: str, scene: int, n_scenes: int) -> OmeImage:
    """What OME-XML says about one image, which has to be in this file."""
    document = parse(path, xml)
    if document.files:
        named = ", ".join(name for name in document.files if name != path.name)
        raise UnreadableVolumeError(f"{path}: one part of an OME-TIFF that needs other files too ({named[:200]})")
    if len(document.images) != n_scenes:
        raise UnreadableVolumeError(
            f"{path}: its OME-XML describes {len(document.images)} images, {n_scenes} are there; is it damaged?"
        )
    return document.images[scene]


def signature(path: Path, head: bytes) -> bool:
    """True when the first bytes are those of a TIFF or BigTIFF of either byte order, or of OME-XML that speaks of TIFFs."""
    tiff = len(head) >= 4 and any(
        head[:2] == mark and struct.unpack(order + "H", head[2:4])[0] in (42, 43)
        for mark, order in ((b"II", "<"), (b"MM", ">"))
    )
    return tiff or is_companion(path, head)
