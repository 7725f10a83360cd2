"""Folders of slices as volumes: TIFF or PNG files with one plane each, in the order of the numbers in their names."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.fileset import is_slice, is_tree, members_of
from alcore.types import Box, VoxelSize
from alcore.volumes import png
from alcore.volumes.faults import readable
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.port import Array, ReadOptions
from alcore.volumes.slice_names import order_of
from alcore.volumes.tiff import TiffImage
from alcore.volumes.tiff_chain import pages_of
from alcore.volumes.tiff_check import size_problem, tiff_problems

MOST_OPEN = 32
"""Slices that are open at a time."""
OPEN_BYTES = 256 << 20
"""Decoded bytes of the slices that are open at a time; one is always."""
ALIKE = 1e-3
"""Pixel sizes that differ by less (relatively) are one size."""


class TiffSlice:
    """A TIFF of one plane. Attributes as those of PngSlice; pixel_um: (y, x) as the file states it, or None."""

    kind = "TIFF"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        try:
            n_pages = sum(not page.is_reduced for page in pages_of(path))
            if n_pages != 1:
                raise UnreadableVolumeError(f"{path}: holds {n_pages} pages; each file of a folder of slices holds one")
            self.image = image = TiffImage(path, 0, options)
        except PartOfSetError as e:
            raise UnreadableVolumeError(
                f"{path}: one of the files of a multi-file OME-TIFF; leave `slices` out for its watched folder"
            ) from e
        planes = image.n_scenes * image.n_times * image.n_slices * (len(image.channels) if image.samples == 1 else 1)
        if planes != 1:
            self.close()
            raise UnreadableVolumeError(f"{path}: holds {planes} planes; each file of a folder of slices holds one")
        self.height, self.width, self.dtype, self.nbytes = image.height, image.width, image.dtype, image.nbytes
        self.rule, self.channels, self.notes = image.colour, image.channels, tuple(image.notes)

    def read(self, channel: int, rows: slice, columns: slice, out: Array) -> None:
        """Part of one channel into `out` (rows, columns)."""
        self.image.read(0, channel, 0, rows, columns, out)

    def close(self) -> None:
        """Release the file. Closing twice is harmless."""
        self.image.close()


Slice = TiffSlice | png.PngSlice


def signature(path: Path, head: bytes) -> bool:
    """True for a folder, not an OME-Zarr, in which TIFF or PNG files lie."""
    if head or not os.path.isdir(path) or is_tree(os.fsencode(path)):
        return False
    with readable(path), os.scandir(path) as entries:
        return any(is_slice(entry.name) and entry.is_file(follow_symlinks=False) for entry in entries)


class SliceFolder(ImageFile):
    """The slices of one folder. Only the first is opened at once; the others when they are needed, few at a time.

    Raises UnreadableVolumeError for names that give no order without gaps, and, when a slice is needed for the first time,
    for one that is unlike the first.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self._options = replace(options, axes=None, channels=None, scene=None, time=None, channel=None)
        with readable(path):
            found = [(os.fsdecode(name), s.st_size) for name, s in members_of(os.fsencode(path))]
        self.stored_bytes = sum(size for _, size in found)
        self._order = order_of(path, [name for name, _ in found], options.axes)
        self._open: OrderedDict[int, Slice] = OrderedDict()
        self._first: Slice | None = None
        self._first = first = self._slice(0)
        try:
            self.images = (self._image(first),)
        except BaseException:
            self.close()
            raise

    def _image(self, first: Slice) -> Image:
        """The one image of the folder, as its first slice and the number of slices tell."""
        n, letter = len(self._order.names), self._order.letter
        if letter == "C" and len(first.channels) > 1:
            raise UnreadableVolumeError(
                f"{self.path}: its files are channels, but each has {len(first.channels)} channels"
            )
        voxel_um, notes = self._calibration(first, n if letter == "Z" else 1)
        return Image(
            name="",
            n_times=n if letter == "T" else 1,
            channels=("",) * n if letter == "C" else first.channels,
            n_slices=n if letter == "Z" else 1,
            height=first.height,
            width=first.width,
            dtype=np.dtype(first.dtype),
            voxel_um=voxel_um,
            notes=self._order.notes + first.notes + notes,
        )

    def _calibration(self, first: Slice, n_slices: int) -> tuple[VoxelSize | None, tuple[str, ...]]:
        """What the first slice states of the voxel size; a slice seldom knows the distance to the next."""
        if isinstance(first, png.PngSlice):
            return None, ()
        whole, pixel_um = first.image.calibration(n_slices)[0], _pixel_um(first)
        if whole is not None or pixel_um is None:
            return whole, ()
        y, x = pixel_um
        return None, (f"its slices state pixels of {y:.4g} x {x:.4g} um but no distance: set voxel_um in the config",)

    def _slice(self, number: int) -> Slice:
        """One slice, open; those that were not used for longest are closed for it."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        found = self._opened(self._order.names[number])
        self._open[number] = found
        most = max(1, min(MOST_OPEN, OPEN_BYTES // max(1, found.nbytes)))
        while len(self._open) > most:
            self._open.popitem(last=False)[1].close()
        return found

    def _opened(self, name: str) -> Slice:
        """A slice, proved to be like the first one."""
        path = self.path / name
        with readable(path), open(path, "rb") as f:
            is_png = f.read(8) == png.MAGIC
        try:
            found: Slice = png.PngSlice(path, self._options) if is_png else TiffSlice(path, self._options)
        except UnreadableVolumeError as e:
            raise UnreadableVolumeError(f"{self.path}: {name}: {str(e).removeprefix(f'{path}: ')}") from e
        first = self._first
        if first is not None and (told := _words(found)) != _words(first):
            found.close()
            raise UnreadableVolumeError(
                f"{self.path}: {name} is {told}, {self._order.names[0]} is {_words(first)}: a folder of slices holds one volume"
            )
        return found

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        out = np.empty(box.shape, self.images[image].dtype)
        for z in range(z0, z1):
            number = {"Z": z, "T": time, "C": channel}[self._order.letter]
            within = 0 if self._order.letter == "C" else channel
            self._slice(number).read(within, slice(y0, y1), slice(x0, x1), out[z - z0])
        return out

    def problem(self) -> str:
        stated: tuple[str, tuple[float, float]] | None = None
        for number, name in enumerate(self._order.names):
            found = self._slice(number)
            if wrong := self._file_problem(self.path / name, found):
                return f"{name}: {wrong}"
            pixel_um = None if isinstance(found, png.PngSlice) else _pixel_um(found)
            if pixel_um is None:
                continue
            stated = stated or (name, pixel_um)
            if not np.allclose(pixel_um, stated[1], rtol=ALIKE, atol=0):
                sizes = [f"{y:.4g} x {x:.4g} um" for y, x in (pixel_um, stated[1])]
                return f"{name} states pixels of {sizes[0]}, {stated[0]} of {sizes[1]}: a folder of slices holds one volume"
        return ""

    def _file_problem(self, path: Path, found: Slice) -> str:
        """What is wrong with one file, in words."""
        if isinstance(found, png.PngSlice):
            with readable(path):
                stored = os.stat(path).st_size
            shape: tuple[Any, ...] = (found.height, found.width)
            return png.png_problem(path) or size_problem(shape, str(found.dtype), found.nbytes, stored, found.nbytes)
        try:
            return next(iter(tiff_problems(path, self._options, found.nbytes)), "")
        except PartOfSetError as e:
            return str(e).removeprefix(f"{path}: ")

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _words(found: Slice) -> str:
    """What has to be the same in all slices."""
    colour = " in colour" if found.rule in ("luminance", "channels") else ""
    return f"a {found.kind} of {found.height} x {found.width} {found.dtype}{colour}"


def _pixel_um(found: TiffSlice) -> tuple[float, float] | None:
    """(y, x) um as a slice states it."""
    voxel_um = found.image.calibration(1)[0]
    return None if voxel_um is None else voxel_um[1:]
