"""Voxels behind a header: read from a stream, plain or compressed, as many as the header declares and not one more."""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN

STEP_BYTES = 1 << 20


class Stream(Protocol):
    """What is read from: a file, or what unpacks one on the way."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


def check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic], limit_bytes: int) -> None:
    """Raise UnreadableVolumeError for a declared size (Z, Y, X) that is empty, or larger than `limit_bytes`."""
    if not shape or min(shape) < 1:
        raise UnreadableVolumeError(f"{path}: declares the size {shape}, which holds nothing; {AGAIN}")
    if math.prod(shape) * dtype.itemsize > limit_bytes:
        size = math.prod(shape) * dtype.itemsize / 2**30
        raise UnreadableVolumeError(
            f"{path}: declares {shape} voxels of {dtype}, {size:.3g} GB; the limit is {limit_bytes / 2**30:.3g} GB"
        )


def single_mask(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(Z, Y, X) of a stored shape, slowest axis first, that may have more axes of length 1. Raises UnreadableVolumeError."""
    leading = [n for n in shape[:-2] if n > 1]
    if len(shape) < 2 or len(leading) > 1:
        raise UnreadableVolumeError(f"{path}: shape {shape} is no single (Z, Y, X) mask")
    return (leading[0] if leading else 1, shape[-2], shape[-1])


def read_voxels(
    path: Path, stream: Stream, shape: tuple[int, int, int], dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    """The mask (Z, Y, X), in native byte order, from a stream that holds exactly this many voxels.

    What is packed grows only as far as it was declared to. Raises UnreadableVolumeError for fewer bytes, or for more.
    """
    mask = np.empty(shape, dtype)
    flat = mask.reshape(-1).view(np.uint8)
    have = 0
    try:
        while have < len(flat):
            block = stream.read(min(STEP_BYTES, len(flat) - have))
            if not block:
                raise UnreadableVolumeError(
                    f"{path}: {have} of {len(flat)} bytes of voxels are there: cut off; {AGAIN}"
                )
            flat[have : have + len(block)] = np.frombuffer(block, np.uint8)
            have += len(block)
        if stream.read(1):
            raise UnreadableVolumeError(f"{path}: holds more voxels than the {shape} that it declares; {AGAIN}")
    except (EOFError, OSError, zlib.error) as e:
        raise UnreadableVolumeError(f"{path}: its voxels cannot be unpacked ({e}): cut off or damaged; {AGAIN}") from e
    return mask if dtype.isnative else mask.astype(dtype.newbyteorder("="))


@contextmanager
def unpacked(file: BinaryIO, packing: str) -> Iterator[Stream]:
    """The stream behind a file that is "gzip" or "bzip2" packed from where it stands, or "raw"."""
    if packing == "gzip":
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            yield stream
    elif packing == "bzip2":
        with bz2.BZ2File(file, "rb") as packed:
            yield cast(Stream, packed)
    else:
        yield file
