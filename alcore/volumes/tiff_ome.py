"""What OME-XML says: images, their dimensions and channels, and in which directory of which file every plane is.

OME-TIFF specification 2016-06: TiffData maps planes to directories; UUID elements name the files of a multi-file set;
BinaryOnly points to a companion file that holds the description.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable

LIMIT_BYTES = 64 << 20
"""No description of an acquisition is larger."""
MOST_PLANES = 1_000_000
"""More planes than any acquisition has."""
COMPANION = ".ome"


@dataclass(frozen=True, eq=False)
class OmeImage:
    """One image (scene). pixels: attributes of its Pixels element. channels: names, "" where there is none.

    axes, shape: T, Z, C in their order in the file (slowest first), then Y, X; C counts planes, not colour samples.
    files, directories: (planes,) int32, in that order: number in the document's `files` and directory there, -1: nowhere.
    """

    name: str
    pixels: Mapping[str, str]
    channels: tuple[str, ...]
    axes: str
    shape: tuple[int, ...]
    files: npt.NDArray[np.int32]
    directories: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class OmeDocument:
    """A parsed description. files: names of the files that hold its planes, in order of first mention.

    own: the name of the file that carries the description. companion: that file is nothing but the description.
    """

    images: tuple[OmeImage, ...]
    files: tuple[str, ...]
    own: str
    companion: bool

    @property
    def is_set(self) -> bool:
        """Does it take more files than the one that carries the description?"""
        return any(name != self.own for name in self.files)


def is_companion(path: Path, head: bytes) -> bool:
    """Is this a file of nothing but OME-XML? head: its first bytes."""
    return path.name.lower().endswith(COMPANION) and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_companion(path: Path) -> str:
    """The text of a companion file. Raises UnreadableVolumeError when it is too large or no text."""
    with readable(path):
        if os.stat(path).st_size > LIMIT_BYTES:
            raise UnreadableVolumeError(f"{path}: larger than {LIMIT_BYTES >> 20} MB, which no description is; {AGAIN}")
        return path.read_text(encoding="utf-8-sig")


def parse(path: Path, xml: str, companion: bool = False) -> OmeDocument:
    """Understand the OME-XML that `path` holds (or, as a companion, is).

    Raises PartOfSetError when it only points to the file that describes it, UnreadableVolumeError for what is no usable
    description.
    """
    if len(xml) > LIMIT_BYTES or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise UnreadableVolumeError(
            f"{path}: its OME-XML is larger than {LIMIT_BYTES >> 20} MB or defines entities; save it as OME-TIFF again"
        )
    target = _Target()
    try:
        parser = ElementTree.XMLParser(target=target)
        parser.feed(xml)
        parser.close()
    except ElementTree.ParseError as e:
        raise UnreadableVolumeError(f"{path}: its OME-XML is cut off or damaged ({e}); {AGAIN}") from e
    if target.described_in is not None:
        other = _safe(path, target.described_in)
        raise PartOfSetError(f"{path}: described in {other}", str(path.with_name(other)), sorted({other, path.name}))
    files: dict[str, int] = {}
    budget = MOST_PLANES
    images = []
    for draft in target.images:
        if draft.data:  # an image without data is described, but not stored
            try:
                images.append(_image(path, draft, target.identity, files, budget, companion))
            except (KeyError, ValueError) as e:
                what = f"{e} is missing" if isinstance(e, KeyError) else str(e)
                raise UnreadableVolumeError(f"{path}: its OME-XML makes no sense ({what[:200]}); {AGAIN}") from e
            budget -= len(images[-1].files)
    if not images:
        raise UnreadableVolumeError(f"{path}: its OME-XML describes no image that is stored in a TIFF; {AGAIN}")
    return OmeDocument(tuple(images), tuple(files), path.name, companion)


@dataclass
class _Data:
    """One TiffData element: its attributes, and those of the UUID in it with its text under ""."""

    about: dict[str, str]
    file: dict[str, str] = field(default_factory=dict)


@dataclass
class _Draft:
    """The elements of one image that matter here."""

    name: str
    pixels: dict[str, str] = field(default_factory=dict)
    channels: list[dict[str, str]] = field(default_factory=list)
    data: list[_Data] = field(default_factory=list)


class _Target:
    """Takes the parser's events and keeps what matters, so that annotations and metadata of planes cost no memory."""

    def __init__(self) -> None:
        self.images: list[_Draft] = []
        self.identity: str | None = None
        self.described_in: str | None = None
        self._trail: list[str] = []

    def start(self, tag: str, about: dict[str, str]) -> None:
        """An element begins."""
        self._trail.append(tag.rpartition("}")[2])
        match self._trail:
            case [_]:
                self.identity = about.get("UUID")
            case [_, "BinaryOnly"]:
                self.described_in = about.get("MetadataFile", "")
            case [_, "Image"]:
                self.images.append(_Draft(about.get("Name", "")))
            case [_, "Image", "Pixels"]:
                self.images[-1].pixels = dict(about)
            case [_, "Image", "Pixels", "Channel"]:
                self.images[-1].channels.append(dict(about))
            case [_, "Image", "Pixels", "TiffData"]:
                self.images[-1].data.append(_Data(dict(about)))
            case [_, "Image", "Pixels", "TiffData", "UUID"]:
                self.images[-1].data[-1].file = {**about, "": ""}

    def data(self, text: str) -> None:
        """Text, perhaps in several pieces."""
        if self._trail[-2:] == ["TiffData", "UUID"] and len(self._trail) == 5:
            self.images[-1].data[-1].file[""] += text

    def end(self, _tag: str) -> None:
        """An element ends."""
        self._trail.pop()

    def close(self) -> None:
        """The document ends."""


def _image(
    path: Path, draft: _Draft, identity: str | None, files: dict[str, int], budget: int, companion: bool
) -> OmeImage:
    about = draft.pixels
    order = about.get("DimensionOrder", "XYCZT")
    if not order.startswith("XY") or sorted(order[2:]) != ["C", "T", "Z"]:
        raise ValueError(f"DimensionOrder {order[:20]!r}")
    names, n_samples = _channels(draft)
    sizes = {**{axis: int(about[f"Size{axis}"]) for axis in "XYZT"}, "C": len(names)}
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    if min(sizes.values()) < 1 or total > budget:
        raise ValueError("sizes " + ", ".join(f"{axis} = {n}" for axis, n in sizes.items()))
    a, b, c = order[2], order[3], order[4]
    of_file, directories = np.full(total, -1, np.int32), np.full(total, -1, np.int32)
    for start, count, first, number in sorted(
        (_span(path, data, (a, b, c), sizes, n_samples, identity, files, companion) for data in draft.data),
        key=lambda span: (span[1] is not None, span[0]),
    ):
        # one that does not say how many planes it has goes on until the next begins
        stop = total if count is None else min(total, start + count)
        if 0 <= start < stop:
            of_file[start:stop] = number
            directories[start:stop] = np.arange(first, first + stop - start)
    axes = order[::-1]
    return OmeImage(draft.name, about, tuple(names), axes, tuple(sizes[x] for x in axes), of_file, directories)


def _channels(draft: _Draft) -> tuple[list[str], int]:
    """Names of the channels that have planes of their own, and how many colour samples each has."""
    n = int(draft.pixels["SizeC"])
    if not 1 <= n <= MOST_PLANES:
        raise ValueError(f"SizeC = {n}")
    names = [channel.get("Name", "") for channel in draft.channels]
    samples = [int(channel.get("SamplesPerPixel") or 1) for channel in draft.channels]
    if names and sum(samples) == n and len(set(samples)) == 1:
        return names, samples[0]
    return (names if len(names) == n else [""] * n), 1  # without usable elements every channel is a plane of its own


def _span(
    path: Path,
    data: _Data,
    order: tuple[str, str, str],
    sizes: Mapping[str, int],
    n_samples: int,
    identity: str | None,
    files: dict[str, int],
    companion: bool,
) -> tuple[int, int | None, int, int]:
    """(first plane, how many, first directory, number of the file) of one TiffData."""
    name = data.file.get("FileName", "") if data.file else ""
    if name:
        name = _safe(path, name)
    if not companion and (not name or (identity is not None and data.file.get("", "").strip() == identity)):
        name = path.name
    if not name:
        raise ValueError("a companion that does not name the file of a plane")
    number = files.setdefault(name, len(files))
    first = {axis: int(data.about.get(f"First{axis}") or 0) for axis in "CZT"}
    first["C"] //= n_samples
    a, b, c = order
    start = first[a] + sizes[a] * (first[b] + sizes[b] * first[c])
    if any(not 0 <= first[axis] < sizes[axis] for axis in order):
        start = -1
    stated: Any = data.about.get("PlaneCount", data.about.get("NumPlanes"))
    count = int(stated) if stated is not None else 1 if "IFD" in data.about else None
    directory = int(data.about.get("IFD") or 0)
    if not 0 <= directory < 1 << 30 or (count is not None and not 0 <= count < 1 << 30):
        raise ValueError(f"TiffData {data.about}")
    return start, count, directory, number


def missing_planes(image: OmeImage) -> int:
    """How many planes of an image are in no file."""
    return math.prod(image.shape[:-2]) - int((image.directories >= 0).sum())


def _safe(path: Path, name: str) -> str:
    """A name in the folder of `path`. Raises UnreadableVolumeError for any other."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise UnreadableVolumeError(
            f"{path}: its OME-XML names a file outside its folder ({name[:100]!r}); keep the files in one folder"
        )
    return name
