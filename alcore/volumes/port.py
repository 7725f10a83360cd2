"""The port that every volume format implements: what it takes to read boxes of a Volume lazily."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.types import Box, VoxelSize

Array = npt.NDArray[np.generic]

REAL_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Intensities that a Volume may have."""


@dataclass(frozen=True)
class ReadOptions:
    """What a person may say about files that do not say it themselves (the `read` params of a stage).

    axes: one letter of C, T, Y, X, Z per dimension of the file, or None to believe the file.
    channels: which channels to use, in this order, or None where there is only one.
    """

    axes: str | None = None
    channels: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> ReadOptions:
        """Validated options; raises PermanentError naming the key that cannot be used."""
        value = dict(value or {})
        axes, channels = value.pop("axes", None), value.pop("channels", None)
        if value:
            raise PermanentError(f"read options {json.dumps(value)} do not exist; known: axes, channels")
        if axes is not None and (
            not isinstance(axes, str)
            or not axes.endswith("YX")
            or set(axes) - set("CTZYX")
            or len(set(axes)) < len(axes)
        ):
            raise PermanentError(f'read option axes: {axes!r} is no order of C, T, Z ending in YX, such as "ZYX"')
        if channels is None:
            return cls(axes)
        if (
            not isinstance(channels, (list, tuple))
            or not channels
            or not all(isinstance(c, int) and not isinstance(c, bool) and c >= 0 for c in channels)
            or len(set(channels)) < len(channels)
        ):
            raise PermanentError(f"read option channels: {channels!r} is no list of different channel numbers from 0")
        return cls(axes, tuple(channels))


class VolumeReader(ABC):
    """One finished acquisition, open for reading boxes. A context manager; nothing is loaded before it is asked for.

    path: the file, for messages. shape: (C, Z, Y, X) after the read options. dtype: native byte order.
    voxel_um: (z, y, x) um as the file states it, None when it does not.
    notes: what a person should know about how the file was understood.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    voxel_um: VoxelSize | None
    notes: tuple[str, ...] = ()

    def read(self, box: Box) -> Array:
        """(C, Z, Y, X) of one box, a fresh array of `dtype` in native byte order; NaN and infinities become 0.

        Raises ValueError for a box outside the volume, UnreadableVolumeError when its bytes do not decode,
        SourceChangedError when the file became shorter.
        """
        image = self.read_as_stored(box)
        if self.dtype.kind == "f":
            np.nan_to_num(image, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return image

    def read_as_stored(self, box: Box) -> Array:
        """Like `read`, with NaN and infinities kept: for statistics."""
        if (
            min(box.start) < 0
            or min(box.shape) < 1
            or any(a > b for a, b in zip(box.stop, self.shape[1:], strict=True))
        ):
            raise ValueError(f"box {box} is not inside volume (Z, Y, X) = {self.shape[1:]} of {self.path}")
        return self._read(box)

    @abstractmethod
    def _read(self, box: Box) -> Array:
        """(C, Z, Y, X) of a box that lies inside."""

    @abstractmethod
    def close(self) -> None:
        """Release the file. Closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Format:
    """A file format: how to recognise it from its first bytes, how to open it, how to prove that it is complete.

    check returns the problems found, without decoding voxels; limit_bytes caps the decoded size.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    open: Callable[[Path, ReadOptions], VolumeReader]
    check: Callable[[Path, int], list[str]]
