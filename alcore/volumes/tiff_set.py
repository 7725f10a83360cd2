"""OME-TIFF, in one file or spread over several of one folder: which files belong together, and how to read planes of them."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from alcore.errors import AlcoreError, PartOfSetError, UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import Array
from alcore.volumes.tiff_chain import pages_of
from alcore.volumes.tiff_ome import OmeDocument, is_companion, missing_planes, parse, read_companion
from alcore.volumes.tiff_planes import CACHE_BYTES, TiffPlanes

MOST_OPEN = 32
"""Files of a set that are open at a time."""


def document_of(path: Path) -> OmeDocument | None:
    """The OME description that a file carries (or that a companion is), or None; remembered while the file stays the same.

    Raises PartOfSetError when the description is in another file, UnreadableVolumeError, SourceMissingError.
    """
    with readable(path):
        found = os.stat(path)
    document = _document(path, (found.st_ino, found.st_size, found.st_mtime_ns))
    if document is not None and document.is_set and len(document.files) == 1 and not document.companion:
        named = path.with_name(document.files[0])
        if not _is_file(named):  # a single file that was renamed
            return replace(document, files=(path.name,))
    return document


@functools.lru_cache(maxsize=4)
def _document(path: Path, _identity: tuple[int, int, int]) -> OmeDocument | None:
    with readable(path), open(path, "rb") as f:
        head = f.read(64)
    if is_companion(path, head):
        return parse(path, read_companion(path), companion=True)
    xml = ome_xml_of(path)
    return None if xml is None else parse(path, xml)


def ome_xml_of(path: Path) -> str | None:
    """The OME-XML in a TIFF, not looked at; None when there is none. Raises UnreadableVolumeError, SourceMissingError."""
    pages_of(path)  # refuses what must not be given to tifffile, such as an endless description
    with readable(path), tifffile.TiffFile(path, _multifile=False) as tif:
        return tif.ome_metadata if tif.is_ome else None


def set_of(path: Path) -> tuple[str, ...] | None:
    """Names of all files of the set that `path` stands for, sorted; None for a file that is a volume by itself.

    Raises PartOfSetError when another file stands for the set: the companion, else the file that is named first of those
    that carry the description or are not there yet; otherwise as `document_of`.
    """
    try:
        document = document_of(path)
    except PartOfSetError as e:
        raise _described_elsewhere(path, e) from e
    if document is None or not document.is_set:
        return None
    names = tuple(sorted({*document.files, path.name}))
    if document.companion:
        return names
    owner = next((name for name in document.files if name == path.name or _may_own(path.with_name(name))), path.name)
    if owner != path.name:
        raise PartOfSetError(
            f"{path}: one of {len(names)} files that belong together", str(path.with_name(owner)), names
        )
    return names


def _may_own(path: Path) -> bool:
    """Does a file carry the description of a set, or may it when it is there?"""
    try:
        document = document_of(path)
    except PartOfSetError:
        return False
    except AlcoreError:  # not there, or not whole yet
        return True
    return document is not None and document.is_set


def _described_elsewhere(path: Path, e: PartOfSetError) -> AlcoreError:
    """What is wrong with a file that only says where it is described, in as many words as the description allows."""
    described_in = Path(e.detail["owner"])
    try:
        document_of(described_in)  # raises here when it is described elsewhere, too: no going round in circles
    except PartOfSetError:
        return UnreadableVolumeError(
            f"{path}: says that {described_in.name} describes it, which says that of another file; {AGAIN}"
        )
    except AlcoreError:  # not there, or damaged: whoever looks at it will say so
        return e
    try:
        names = set_of(described_in)
    except PartOfSetError as further:
        names, described_in = tuple(further.detail["members"]), Path(further.detail["owner"])
    if names is None or path.name not in names:
        return UnreadableVolumeError(
            f"{path}: says that {described_in.name} describes it, which does not name it; {AGAIN}"
        )
    return PartOfSetError(f"{path}: one of {len(names)} files that belong together", str(described_in), names)


def missing_of(path: Path, names: tuple[str, ...]) -> list[str]:
    """Which files of a set are not there. A link is not: nobody would notice when what it points to changes."""
    return [name for name in names if not _is_file(path.with_name(name))]


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


class TiffSet:
    """Random access to the planes of one image of an OME description. Attributes as those of TiffPlanes.

    Raises UnreadableVolumeError for planes that are in no file, and, when a file is needed for the first time, for planes
    that are not in it or unlike the others.
    """

    def __init__(self, path: Path, document: OmeDocument, scene: int) -> None:
        self.path, self.ome, self._names = path, document.images[scene], document.files
        self.n_scenes = len(document.images)
        self.axes, self.shape, self.n_planes = self.ome.axes, self.ome.shape, len(self.ome.files)
        if absent := missing_planes(self.ome):
            raise UnreadableVolumeError(
                f"{path}: {absent} of the {self.n_planes} planes that its OME-XML promises are nowhere; {AGAIN}"
            )
        self._files, counts = np.unique(self.ome.files, return_counts=True)
        by_file = np.argsort(self.ome.files, kind="stable")
        self._rank = np.empty_like(by_file)  # which of the planes in its file each plane is
        self._rank[by_file] = np.arange(self.n_planes) - np.repeat(np.cumsum(counts) - counts, counts)
        self._open: OrderedDict[int, TiffPlanes] = OrderedDict()
        self._cache_bytes = CACHE_BYTES // min(len(self._files), MOST_OPEN)
        self._proved: set[int] = set()
        first = self._file(int(self._files[0]))
        self.height, self.width, self.dtype, self.samples = first.height, first.width, first.dtype, first.samples
        self.n_alpha, self.photometric, self.compression = first.n_alpha, first.photometric, first.compression
        self.nbytes = self.n_planes * self.height * self.width * self.samples * self.dtype.itemsize
        if (self.height, self.width) != self.shape[-2:]:
            self.close()
            raise UnreadableVolumeError(
                f"{path}: its OME-XML speaks of planes of {self.shape[-2]} x {self.shape[-1]} pixels, "
                f"they have {self.height} x {self.width}; {AGAIN}"
            )

    def _file(self, number: int) -> TiffPlanes:
        """One of the files, open; the one that was not used for longest is closed for it."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path = self.path.with_name(self._names[number])
        pages = pages_of(path)
        wanted = self.ome.directories[self.ome.files == number]
        if number not in self._proved:
            if wanted.max() >= len(pages):
                n = f"{len(pages)} pages are there, page {wanted.max() + 1} is promised by the OME-XML"
                raise UnreadableVolumeError(f"{path}: {n}; was the file still being written? Copy or save it again")
            if len({(pages[d].geometry, pages[d].layout) for d in wanted.tolist()}) > 1:
                raise UnreadableVolumeError(f"{path}: pages of one image differ in size, bits or compression; {AGAIN}")
        planes = TiffPlanes(path, directories=[pages[d].offset for d in wanted.tolist()], cache_bytes=self._cache_bytes)
        if self._proved and (planes.height, planes.width, planes.dtype, planes.samples, planes.photometric) != (
            *(self.height, self.width, self.dtype, self.samples, self.photometric),
        ):
            planes.close()
            raise UnreadableVolumeError(
                f"{path}: its planes are unlike those of the other files of {self.path.name}; {AGAIN}"
            )
        self._proved.add(number)
        while len(self._open) >= MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[number] = planes
        return planes

    def read(self, plane: int, rows: slice, columns: slice, out: Array, sample: int = 0) -> None:
        """Decode one sample of part of one plane into `out` (rows, columns)."""
        self._file(int(self.ome.files[plane])).read(int(self._rank[plane]), rows, columns, out, sample)

    def check(self) -> None:
        """Look at every file once: is every plane there, and are they alike?"""
        for number in self._files:
            self._file(int(number))

    def close(self) -> None:
        """Release all files. Closing twice is harmless."""
        while self._open:
            self._open.popitem()[1].close()


def open_planes(path: Path, scene: int = 0) -> TiffPlanes | TiffSet:
    """The planes of one image of a file, or of the set that it stands for. Raises as `set_of`, TiffPlanes and TiffSet."""
    set_of(path)
    document = document_of(path)
    return (
        TiffPlanes(path, scene) if document is None else TiffSet(path, document, min(scene, len(document.images) - 1))
    )
