"""Instance masks of whole volumes, read box by box: label files of any tool, OME-Zarr, HDF5, MRC, folders of slices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes.formats import format_of
from alcore.volumes.labels import LabelTiff, read_behind_header
from alcore.volumes.port import ReadOptions, VolumeReader

UNNAMED = ("slices", "HDF5")
"""Formats that do not name their dimensions: those of a mask are Z, Y, X."""


class Mask(Protocol):
    """A mask (Z, Y, X) that boxes can be read of, as they are stored."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        """(Z, Y, X) of a box."""


class _Array:
    """A mask that came as a whole."""

    def __init__(self, array: npt.NDArray[np.generic]) -> None:
        z, y, x = array.shape
        self.shape = (z, y, x)
        self._array = array

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        return self._array[box.slices]


class _Image:
    """A mask in a format of acquisitions."""

    def __init__(self, reader: VolumeReader) -> None:
        self.shape = reader.shape[1:]
        self._reader = reader

    def read(self, box: Box) -> npt.NDArray[np.generic]:
        return self._reader.read_as_stored(box)[0]


@contextmanager
def open_truth(path: Path, limit_bytes: int, whole_bytes: int) -> Iterator[Mask]:
    """Open the mask of a whole volume, proven complete. limit_bytes: largest decoded size that is believed; whole_bytes: of
    NRRD and NIfTI, which cannot be read in parts.

    Raises UnreadableVolumeError for what is no single mask.
    """
    if path.is_file() and (array := read_behind_header(path, whole_bytes)) is not None:
        yield _Array(array)
        return
    format_ = format_of(path)
    if format_.name == "TIFF":
        with LabelTiff(path, limit_bytes) as tiff:
            yield tiff
        return
    # chunks without any object are left out by those who write masks; nobody makes a mask of time points
    options = ReadOptions(rgb="refuse", sparse=True, axes="ZYX" if format_.name in UNNAMED else None)
    if problems := format_.check(path, options, limit_bytes):
        raise UnreadableVolumeError(f"{path}: {problems[0]}")
    parts = format_.parts(path, options)
    if len(parts) != 1:
        raise UnreadableVolumeError(f"{path}: holds {len(parts)} volumes; a mask is one number per voxel of one volume")
    with format_.open(path, options) as reader:
        yield _Image(reader)
