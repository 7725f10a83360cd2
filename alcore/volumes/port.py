"""The port that every volume format implements: what it takes to read boxes of a Volume lazily."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError, UnreadableVolumeError
from alcore.types import Box, VoxelSize

Array = npt.NDArray[np.generic]

REAL_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Intensities that a Volume may have."""


@dataclass(frozen=True)
class ReadOptions:
    """What a person says about files that do not say it themselves, and which of the volumes in a file is meant.

    axes: one letter of C, T, Y, X, Z per dimension of the file, or None to believe the file.
    channels: the channels to use, by number from 0 or by name, in this order; None: all.
    together: the chosen channels are the channels of one volume; else each is a volume of its own (see `enumerate_parts`).
    rgb: what becomes of colour images: "luminance" (one channel of Rec. 709 luminance), "channels" (three channels, named
    R, G, B) or "refuse". dataset: path of the image in an HDF5 file. sparse: chunks of an OME-Zarr or
    HDF5 that are missing are empty space rather than not written yet.
    scene, time, channel: which part of the file, by number from 0; None where there is only one (channel: all chosen ones).
    """

    axes: str | None = None
    channels: tuple[int | str, ...] | None = None
    together: bool = False
    rgb: str = "luminance"
    dataset: str | None = None
    sparse: bool = False
    scene: int | None = None
    time: int | None = None
    channel: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> ReadOptions:
        """Validated options; raises PermanentError naming the key that cannot be used."""
        value = dict(value or {})
        unknown = {key: value[key] for key in value if key not in cls.__dataclass_fields__}
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise PermanentError(f"read options {json.dumps(unknown)} do not exist; known: {known}")
        for key, wrong in _CHECKS.items():
            if value.get(key) is not None and (why := wrong(value[key])):
                raise PermanentError(f"read option {key}: {value[key]!r} {why}")
        if value.get("channels") is not None:
            value["channels"] = tuple(value["channels"])
        return cls(**{key: v for key, v in value.items() if v is not None})


def _wrong_axes(axes: object) -> str:
    good = (
        isinstance(axes, str) and axes.endswith("YX") and not set(axes) - set("CTZYX") and len(set(axes)) == len(axes)
    )
    return "" if good else 'is no order of C, T, Z ending in YX, such as "ZYX"'


def _wrong_channels(channels: object) -> str:
    good = (
        isinstance(channels, (list, tuple))
        and len(channels) > 0
        and all(isinstance(c, str) or (isinstance(c, int) and not isinstance(c, bool) and c >= 0) for c in channels)
        and len(set(channels)) == len(channels)
    )
    return "" if good else "is no list of different channels, by number from 0 or by name"


def _wrong_number(number: object) -> str:
    good = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    return "" if good else "is no number from 0"


def _wrong_switch(switch: object) -> str:
    return "" if isinstance(switch, bool) else "is neither true nor false"


RGB_RULES = ("luminance", "channels", "refuse")
_CHECKS: Mapping[str, Callable[[object], str]] = {
    "axes": _wrong_axes,
    "channels": _wrong_channels,
    "together": _wrong_switch,
    "rgb": lambda rule: "" if rule in RGB_RULES else f"is none of {', '.join(RGB_RULES)}",
    "dataset": lambda path: "" if isinstance(path, str) and path else "is no path of a dataset",
    "sparse": _wrong_switch,
    "scene": _wrong_number,
    "time": _wrong_number,
    "channel": _wrong_number,
}

MOST_PARTS = 10_000
"""More volumes in one file than any acquisition has."""


@dataclass(frozen=True)
class Scene:
    """One scene (position, series, well field) of a file: how many time points, and its channels by name ("" if unnamed)."""

    name: str
    times: int
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One Volume among those in a file. select: the read options `scene`, `time` and `channel` that choose it, only those of
    which the file has several. name: which one it is, for people; "" when it is the only one."""

    select: Mapping[str, int]
    name: str


def enumerate_parts(path: Path, scenes: Sequence[Scene], options: ReadOptions) -> list[Part]:
    """Every scene, time point and (unless `together`) chosen channel of a file as a volume of its own.

    Raises UnreadableVolumeError for channels that a scene does not have, and for absurd numbers.
    """
    parts: list[Part] = []
    for number, scene in enumerate(scenes):
        chosen = chosen_channels(path, scene.channels, options)
        split: Sequence[int | None] = (None,) if options.together or len(chosen) == 1 else chosen
        if len(parts) + scene.times * len(split) > MOST_PARTS:
            raise UnreadableVolumeError(f"{path}: claims to hold more than {MOST_PARTS} volumes")
        for time in range(scene.times):
            for channel in split:
                select: dict[str, int] = {}
                words: list[str] = []
                if len(scenes) > 1:
                    select["scene"] = number
                    words.append(f"scene {number + 1}" + (f" ({scene.name})" if scene.name else ""))
                if scene.times > 1:
                    select["time"] = time
                    words.append(f"time {time + 1} of {scene.times}")
                if channel is not None:
                    select["channel"] = channel
                    words.append(
                        f"channel {channel}" + (f" ({scene.channels[channel]})" if scene.channels[channel] else "")
                    )
                parts.append(Part(select, ", ".join(words)))
    return parts


def chosen_channels(path: Path, names: Sequence[str], options: ReadOptions) -> tuple[int, ...]:
    """Numbers of the channels to read, of those that a scene has. Raises UnreadableVolumeError for one it does not have."""
    if options.channel is not None:
        wanted: tuple[int | str, ...] = (options.channel,)
    else:
        wanted = tuple(range(len(names))) if options.channels is None else options.channels
    chosen = []
    for channel in wanted:
        index = channel if isinstance(channel, int) else _named(path, names, channel)
        if index >= len(names):
            raise UnreadableVolumeError(
                f"{path}: channel {index} is asked for, but the file has {len(names)} (numbered from 0); "
                "set `channels` of its watched folder to channels that are there"
            )
        chosen.append(index)
    return tuple(chosen)


def _named(path: Path, names: Sequence[str], wanted: str) -> int:
    found = [i for i, name in enumerate(names) if name == wanted] or [
        i for i, name in enumerate(names) if name.casefold() == wanted.casefold()
    ]
    if len(found) == 1:
        return found[0]
    told = ", ".join(name or "unnamed" for name in names)
    raise UnreadableVolumeError(
        f"{path}: {len(found) or 'no'} channels are called {wanted!r}; there are: {told}; set `channels` of its watched "
        "folder to names or numbers that are there"
    )


def chosen_of(path: Path, what: str, number: int | None, count: int) -> int:
    """The number of the scene or time point to read. Raises UnreadableVolumeError when that is open or beyond the file."""
    if number is None:
        if count == 1:
            return 0
        words = {"time": "time points"}.get(what, f"{what}s")
        raise UnreadableVolumeError(
            f"{path}: holds {count} {words}, each a volume of its own: say which (read option {what})"
        )
    if number >= count:
        raise UnreadableVolumeError(f"{path}: {what} {number} is asked for, the file has {count} (numbered from 0)")
    return number


class VolumeReader(ABC):
    """One finished acquisition, open for reading boxes. A context manager; nothing is loaded before it is asked for.

    path: the file or folder, for messages. shape: (C, Z, Y, X) after the read options. dtype: native byte order.
    voxel_um: (z, y, x) um as the file states it, None when it does not.
    notes: what a person should know about how the file was understood.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    voxel_um: VoxelSize | None
    notes: tuple[str, ...] = ()
    chunk_slices: int = 1
    """Slices that are stored, and decoded, together."""

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
    """A format of acquisitions: how to recognise one, enumerate the volumes in it, open one, prove that it is complete.

    sniff is given the path and the first 64 bytes (b"" for a folder). check returns the problems found, without decoding
    voxels; limit_bytes caps the decoded size of everything in the file. Both raise UnreadableVolumeError or
    SourceMissingError where that says more. members names the files of the set that the path stands for, None for a single
    file or folder; it raises PartOfSetError when another file stands for the set.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Path, bytes], bool]
    parts: Callable[[Path, ReadOptions], list[Part]]
    open: Callable[[Path, ReadOptions], VolumeReader]
    check: Callable[[Path, ReadOptions, int], list[str]]
    members: Callable[[Path], tuple[str, ...] | None] = lambda _: None
