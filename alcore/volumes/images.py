"""What files of one or several images have in common, whatever their format: from an `ImageFile` to a `Format`."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes.colour import RGB_NAMES, colour_rule, luminance
from alcore.volumes.faults import AGAIN
from alcore.volumes.port import (
    MOST_PARTS,
    REAL_DTYPES,
    Array,
    Format,
    Part,
    ReadOptions,
    Scene,
    VolumeReader,
    chosen_channels,
    chosen_of,
    enumerate_parts,
)
from alcore.volumes.tiff_check import size_problem


@dataclass(frozen=True)
class Image:
    """One image (scene) of a file. channels: by name, "" if unnamed. samples: 1, or 3 for the R, G, B of colour pixels.

    dtype: of one sample as `read` returns it. chunk_slices: as that of VolumeReader.
    """

    name: str
    n_times: int
    channels: tuple[str, ...]
    n_slices: int
    height: int
    width: int
    dtype: np.dtype[Any]
    samples: int = 1
    voxel_um: VoxelSize | None = None
    notes: tuple[str, ...] = ()
    chunk_slices: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int, int, int]:
        """(T, C, Z, Y, X, samples)."""
        return (self.n_times, len(self.channels), self.n_slices, self.height, self.width, self.samples)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of all of it."""
        return math.prod(self.shape) * self.dtype.itemsize


class ImageFile(ABC):
    """A file (or folder) of images, open. images: what is in it. stored_bytes: its size on the disk."""

    path: Path
    images: Sequence[Image]
    stored_bytes: int

    @abstractmethod
    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        """(Z, Y, X) of a box inside one image, or (Z, Y, X, samples) where that has several samples."""

    @abstractmethod
    def problem(self) -> str:
        """What keeps the file from being complete, in words; "" when nothing does. Decodes no voxel."""

    @abstractmethod
    def close(self) -> None:
        """Release the file. Closing twice is harmless."""


Opener = Callable[[Path, ReadOptions], ImageFile]


def image_format(
    name: str, suffixes: tuple[str, ...], sniff: Callable[[Path, bytes], bool], open_file: Opener
) -> Format:
    """The `Format` of files that `open_file` opens. It raises UnreadableVolumeError for those that it cannot."""

    def parts(path: Path, options: ReadOptions) -> list[Part]:
        with contextlib.closing(open_file(path, options)) as file:
            scenes = [
                Scene(image.name, image.n_times, _colours(path, image, options)[1]) for image in _images(path, file)
            ]
        return enumerate_parts(path, scenes, options)

    def check(path: Path, options: ReadOptions, limit_bytes: int) -> list[str]:
        try:
            with contextlib.closing(open_file(path, options)) as file:
                nbytes = 0
                for image in _images(path, file):
                    _colours(path, image, options)
                    nbytes += image.nbytes
                    if wrong := size_problem(image.shape, str(image.dtype), nbytes, file.stored_bytes, limit_bytes):
                        return [wrong]
                wrong = file.problem()
        except UnreadableVolumeError as e:
            wrong = str(e).removeprefix(f"{path}: ")
        return [wrong] if wrong else []

    def reader(path: Path, options: ReadOptions) -> ImageFileReader:
        return ImageFileReader(path, open_file, options)

    return Format(name, suffixes, sniff, parts, reader, check)


def _images(path: Path, file: ImageFile) -> Sequence[Image]:
    """The images of a file. Raises UnreadableVolumeError for none, for very many, and for one without voxels."""
    if not 0 < len(file.images) <= MOST_PARTS:
        n = "no image" if not file.images else f"more than {MOST_PARTS} images"
        raise UnreadableVolumeError(f"{path}: claims to hold {n}; {AGAIN}")
    for image in file.images:
        if min(image.shape) < 1:
            raise UnreadableVolumeError(
                f"{path}: an image of shape (T, C, Z, Y, X) = {image.shape[:5]} is empty; {AGAIN}"
            )
    return file.images


def _colours(path: Path, image: Image, options: ReadOptions) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(rule for colour samples, channel names, notes) of an image; refuses pixels that are no intensities."""
    if image.dtype.name not in (*REAL_DTYPES, "float16"):
        raise UnreadableVolumeError(
            f"{path}: {image.dtype} values are not supported; save it as one of {', '.join(REAL_DTYPES)}"
        )
    if image.samples == 1:
        return "", image.channels, image.notes
    rule, notes = colour_rule(path, options)
    if rule != "channels":
        return rule, image.channels, image.notes + notes
    if len(image.channels) > 1:
        raise UnreadableVolumeError(
            f"{path}: {len(image.channels)} channels of {image.samples} colours each are not understood; "
            'set rgb = "luminance" for its watched folder'
        )
    return rule, RGB_NAMES, image.notes + notes


class ImageFileReader(VolumeReader):
    """Reads boxes of one time point of one image."""

    def __init__(self, path: Path, open_file: Opener, options: ReadOptions) -> None:
        self.path = path
        self._file = open_file(path, options)
        try:
            images = _images(path, self._file)
            self._scene = chosen_of(path, "scene", options.scene, len(images))
            image = images[self._scene]
            self._time = chosen_of(path, "time", options.time, image.n_times)
            self._colour, names, self.notes = _colours(path, image, options)
            self._channels = chosen_channels(path, names, options)
        except BaseException:
            self.close()
            raise
        self.shape = (len(self._channels), image.n_slices, image.height, image.width)
        native = image.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32) if native == np.float16 else native
        self.voxel_um = image.voxel_um
        self.chunk_slices = image.chunk_slices

    def _read(self, box: Box) -> Array:
        out = np.empty((len(self._channels), *box.shape), self.dtype)
        if self._colour == "channels":
            pixels = self._file.read(self._scene, self._time, 0, box)
            for index, channel in enumerate(self._channels):
                out[index] = pixels[..., channel]
            return out
        for index, channel in enumerate(self._channels):
            pixels = self._file.read(self._scene, self._time, channel, box)
            out[index] = luminance(np.moveaxis(pixels, -1, 0)) if self._colour else pixels
        return out

    def close(self) -> None:
        self._file.close()
