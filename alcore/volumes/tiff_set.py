"""The planes of an OME-TIFF that is spread over several files of one folder."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import tifffile

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.volumes import tiff_chain
from alcore.volumes.faults import readable
from alcore.volumes.port import Array
from alcore.volumes.tiff_ome import OmeDocument, OmeImage, is_companion, parse, read_companion
from alcore.volumes.tiff_planes import TiffPlanes

MOST_OPEN = 32
"""Files of a set that are open at a time."""
CACHE_BYTES = 4 << 20
"""Decoded strips and tiles kept of each of them."""


def document_of(path: Path) -> OmeDocument | None:
    """The OME description that a file carries (or that a companion is), or None. Raises PartOfSetError, UnreadableVolumeError."""
    with readable(path):
        with open(path, "rb") as f:
            head = f.read(64)
        if is_companion(path, head):
            return parse(path, read_companion(path))
        with tifffile.TiffFile(path, _multifile=False) as tif:
            return parse(path, tif.ome_metadata or "") if tif.is_ome else None


def set_of(path: Path) -> tuple[str, ...] | None:
    """Names of all files of the set that `path` stands for, sorted; None for a file that is a volume by itself.

    Raises PartOfSetError when another file stands for the set: the companion, else the one that is named first.
    """
    document = document_of(path)
    if document is None or not document.files:
        return None
    names = sorted({path.name if name == "" else name for name in document.files} | {path.name})
    companion = path.name.lower().endswith(".ome")
    owner = path.name if companion else document.files[0]
    if owner != path.name:
        raise PartOfSetError(
            f"{path}: one of {len(names)} files that belong together", str(path.with_name(owner)), names
        )
    return tuple(names)


def missing_of(path: Path, names: tuple[str, ...]) -> list[str]:
    """Which files of a set are not there."""
    return [name for name in names if not path.with_name(name).is_file()]


class TiffSet:
    """Random access to one image of a set. Every directory that holds a plane is an ordinary page of one of the files."""

    def __init__(self, path: Path, image: OmeImage) -> None:
        self.path, self.ome = path, image
        self._open: OrderedDict[str, TiffPlanes] = OrderedDict()
        self._pages: dict[str, list[int]] = {}
        absent = image.n_planes - len(image.planes)
        if absent:
            raise UnreadableVolumeError(f"{path}: {absent} of {image.n_planes} planes are in none of its files")
        for name, directory in image.planes.values():
            self._pages.setdefault(name or path.name, []).append(directory)
        self._number = {name: {d: i for i, d in enumerate(found)} for name, found in self._pages.items()}
        first = self._file(next(iter(self._pages)))
        self.height, self.width, self.dtype, self.samples = first.height, first.width, first.dtype, first.samples
        self.n_alpha = first.n_alpha
        self.photometric, self.compression = first.photometric, first.compression
        self.nbytes = image.n_planes * self.height * self.width * self.samples * self.dtype.itemsize

    def _file(self, name: str) -> TiffPlanes:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        path = self.path.with_name(name)
        with readable(path):
            count = sum(1 for _ in _walk(path))
        beyond = [d for d in self._pages[name] if d >= count]
        if beyond:
            raise UnreadableVolumeError(f"{path}: directory {beyond[0]} of {count} is asked for by {self.path.name}")
        planes = TiffPlanes(path, pages=self._pages[name], cache_bytes=CACHE_BYTES)
        if self._open:
            other = next(iter(self._open.values()))
            if (planes.height, planes.width, planes.dtype) != (other.height, other.width, other.dtype):
                planes.close()
                raise UnreadableVolumeError(
                    f"{path}: its planes are unlike those of the other files of {self.path.name}"
                )
        while len(self._open) >= MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[name] = planes
        return planes

    def read(self, place: tuple[int, int, int], rows: slice, columns: slice, out: Array, sample: int = 0) -> None:
        """Decode one sample of part of the plane (channel, slice, time) into `out` (rows, columns)."""
        name, directory = self.ome.planes[place]
        name = name or self.path.name
        self._file(name).read(self._number[name][directory], rows, columns, out, sample)

    def check(self) -> None:
        """Look at every file once: is every directory there, and alike?"""
        for name in self._pages:
            self._file(name)

    def close(self) -> None:
        """Release all files."""
        while self._open:
            self._open.popitem()[1].close()


def _walk(path: Path) -> list[tiff_chain.Directory]:
    try:
        return list(tiff_chain.walk(path))
    except tiff_chain.BrokenChainError as e:
        raise UnreadableVolumeError(f"{path}: {e}") from e
