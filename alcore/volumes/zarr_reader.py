"""OME-Zarr 0.1 to 0.5 as Volumes (zarr 2 and 3, sharded or not): the chunks that a box touches, decoded by zarr itself."""

from __future__ import annotations

import itertools
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import (
    Array,
    Part,
    ReadOptions,
    VolumeReader,
    chosen_channels,
    chosen_of,
    enumerate_parts,
)
from alcore.volumes.zarr_array import ZarrArray
from alcore.volumes.zarr_images import image_of, images_of

THREADS = 2
"""Of zarr's pool, which lives as long as the process: decoding gains little from more, and each has a stack and a chunk."""
DECODING_BYTES = 128 << 20
"""Chunks that are decoded at the same time, at most; always at least one."""


def zarr_parts(path: Path, options: ReadOptions) -> list[Part]:
    """Every image, time point and channel. Raises UnreadableVolumeError, with the question to answer where there is one."""
    return enumerate_parts(path, [image.scene for image in images_of(path, options)], options)


def open_array(path: Path, array: ZarrArray) -> Any:
    """The array as zarr opens it. Raises UnreadableVolumeError where zarr understands the metadata otherwise or not at all."""
    import zarr
    from zarr.storage import LocalStore

    zarr.config.set({"threading.max_workers": THREADS})
    try:
        store = LocalStore(path / array.key, read_only=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of habits of other writers; what is wrong raises
            opened = zarr.open_array(store=store, mode="r", zarr_format=3 if array.zarr_format == 3 else 2)
    except OSError:
        raise
    except Exception as e:  # zarr and numcodecs raise every kind of exception on metadata that they do not like
        raise UnreadableVolumeError(f"{path}: zarr cannot use the metadata of array {array.key}; {AGAIN}") from e
    if opened.shape != array.shape or opened.chunks != array.inner or opened.dtype.name != array.dtype.name:
        raise UnreadableVolumeError(
            f"{path}: zarr understands array {array.key} as {opened.shape} {opened.dtype} in chunks {opened.chunks}, "
            f"unlike its metadata; {AGAIN}"
        )
    return opened


class ZarrReader(VolumeReader):
    """Reads boxes of one image. Nothing is kept between two boxes.

    A chunk that is missing reads as empty space with zarr. Here that is an error unless `sparse`. A file that vanishes
    between that look and the read cannot be told from empty space: every stage therefore compares the fileset's fingerprint
    before and after (alcore.run), which covers it.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self._image = image = image_of(path, options)
        self._time = chosen_of(path, "time", options.time, image.size("T"))
        self._channels = chosen_channels(path, image.channels, options)
        self._sparse = options.sparse
        with readable(path):
            self._array: Any = open_array(path, image.array)
            self._folder = os.path.realpath(path / image.array.key)
        stored = image.array.dtype
        self.shape = (len(self._channels), image.size("Z"), image.size("Y"), image.size("X"))
        self.dtype = np.dtype(np.float32) if stored == np.float16 else stored.newbyteorder("=")
        self.voxel_um, self.notes = image.voxel_um, image.notes
        self.chunk_slices = image.array.inner[image.dims["Z"]] if "Z" in image.dims else 1

    def _read(self, box: Box) -> Array:
        runs = list(_runs(self._channels))
        with readable(self.path):
            if len(runs) == 1:
                return self._channels_of(runs[0], box)
            out = np.empty((len(self._channels), *box.shape), self.dtype)
            at = 0
            for run in runs:
                n = run.stop - run.start
                out[at : at + n] = self._channels_of(run, box)
                at += n
            return out

    def _channels_of(self, channels: slice, box: Box) -> Array:
        """(C, Z, Y, X) of channels that follow each other, a fresh array of `dtype`."""
        dims = self._image.dims
        spans = dict(zip("CTZYX", (channels, slice(self._time, self._time + 1), *box.slices), strict=True))
        selection = [slice(0, 1)] * len(self._image.array.shape)
        for letter, at in dims.items():
            selection[at] = spans[letter]
        stored = self._fetch(tuple(selection))
        last = [dims[letter] for letter in "CZYX" if letter in dims]
        order = [at for at in range(stored.ndim) if at not in last] + last
        image = stored.transpose(order).reshape(channels.stop - channels.start, *box.shape)
        return np.require(image.astype(self.dtype, copy=False), requirements=["C", "W", "O"])

    def _fetch(self, selection: tuple[slice, ...]) -> Array:
        """Part of the array as zarr returns it. Raises UnreadableVolumeError naming the file that is missing or damaged."""
        import zarr

        array = self._image.array
        places = list(_touched(array, selection))
        for place in places:
            self._require(array.file_of(place))
        decoded = int(np.prod(array.inner, dtype=np.int64)) * array.dtype.itemsize
        at_once = max(1, min(2 * THREADS, DECODING_BYTES // decoded))
        with zarr.config.set({"async.concurrency": at_once}):
            try:
                return np.asarray(self._array[selection])
            except Exception:  # codecs raise every kind of exception on damaged bytes
                self._blame(places)
                raise

    def _require(self, name: str) -> None:
        """Raise unless a chunk's file is there; a link, even one on the way to it, could lead out of the tree."""
        file = os.path.join(self._folder, name)
        told = f"{self.path}: {self._image.array.key}/{name}"
        if os.path.realpath(file) != file:
            raise UnreadableVolumeError(f"{told} is reached through a link, which is not followed")
        try:
            regular = stat.S_ISREG(os.lstat(file).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            if self._sparse:
                return
            raise UnreadableVolumeError(
                f"{told} is missing: not written yet, or left out because it is empty (see read option sparse)"
            ) from None
        if not regular:
            raise UnreadableVolumeError(f"{told} is no file")

    def _blame(self, places: Sequence[tuple[int, ...]]) -> None:
        """Raise for the first file that does not decode by itself; return when each of them does."""
        array = self._image.array
        for place in places:
            whole = tuple(
                slice(i * chunk, min((i + 1) * chunk, size))
                for i, chunk, size in zip(place, array.chunks, array.shape, strict=True)
            )
            try:
                self._array[whole]
            except MemoryError as e:
                raise UnreadableVolumeError(
                    f"{self.path}: {array.key}/{array.file_of(place)} needs more memory to decode than there is; is it "
                    "damaged? Copy or save it again"
                ) from e
            except Exception as e:
                if isinstance(e, OSError) and e.errno is not None:
                    raise  # the disk, not the bytes
                raise UnreadableVolumeError(
                    f"{self.path}: {array.key}/{array.file_of(place)} does not decode; is it damaged? "
                    "Copy or save it again"
                ) from e

    def close(self) -> None:
        self._array = None


def _touched(array: ZarrArray, selection: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
    """Places in the grid of files that a selection needs."""
    spans = zip(selection, array.chunks, strict=True)
    return itertools.product(*(range(s.start // chunk, -(-s.stop // chunk)) for s, chunk in spans))


def _runs(channels: Sequence[int]) -> Iterator[slice]:
    """Channels that follow each other are read in one call: they may lie in one chunk."""
    start = 0
    for i in range(1, len(channels) + 1):
        if i == len(channels) or channels[i] != channels[i - 1] + 1:
            yield slice(channels[start], channels[i - 1] + 1)
            start = i
