"""What OME-XML says: images, their dimensions and channels, and in which directory of which file every plane is.

OME-TIFF specification 2016-06: TiffData maps planes to directories; UUID elements name the files of a multi-file set;
BinaryOnly points to a companion file that holds the description.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.volumes.faults import readable

LIMIT_BYTES = 64 << 20
"""No description of an acquisition is larger."""
COMPANION = (".companion.ome", ".ome")


@dataclass(frozen=True)
class OmeImage:
    """One image (scene). pixels: attributes of its Pixels element. channels: names, "" where there is none.

    samples: colour samples per channel plane. planes: (channel, slice, time) -> (file, directory); file "" is the one that
    holds the description.
    """

    name: str
    pixels: Mapping[str, str]
    channels: tuple[str, ...]
    samples: int
    planes: Mapping[tuple[int, int, int], tuple[str, int]]

    @property
    def n_slices(self) -> int:
        """SizeZ."""
        return int(self.pixels["SizeZ"])

    @property
    def n_times(self) -> int:
        """SizeT."""
        return int(self.pixels["SizeT"])

    @property
    def n_planes(self) -> int:
        """Planes that have to be there."""
        return len(self.channels) * self.n_slices * self.n_times


@dataclass(frozen=True)
class OmeDocument:
    """A parsed description. files: names of every file of a multi-file set, in order of first mention; () for one file."""

    images: tuple[OmeImage, ...]
    files: tuple[str, ...]


def is_companion(path: Path, head: bytes) -> bool:
    """Is this a file of nothing but OME-XML?"""
    return path.name.lower().endswith(COMPANION) and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_companion(path: Path) -> str:
    """The text of a companion file. Raises UnreadableVolumeError when it is too large or no text."""
    with readable(path):
        if os.stat(path).st_size > LIMIT_BYTES:
            raise UnreadableVolumeError(f"{path}: larger than {LIMIT_BYTES >> 20} MB, which no description is")
        return path.read_text(encoding="utf-8-sig")


def parse(path: Path, xml: str) -> OmeDocument:
    """Understand the OME-XML that `path` holds.

    Raises PartOfSetError when it only points to a companion, UnreadableVolumeError for what is no usable description.
    """
    if len(xml) > LIMIT_BYTES or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise UnreadableVolumeError(f"{path}: its OME-XML is larger than {LIMIT_BYTES >> 20} MB or defines entities")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as e:
        raise UnreadableVolumeError(f"{path}: its OME-XML is cut off or damaged ({e})") from e
    for element in root.iter():
        if _tag(element) == "BinaryOnly":
            companion = _safe(path, element.get("MetadataFile", ""))
            raise PartOfSetError(
                f"{path}: described in {companion}", str(path.with_name(companion)), sorted({companion, path.name})
            )
    own = root.get("UUID")
    files: dict[str, None] = {}
    try:
        images = tuple(_image(path, element, own, files) for element in root if _tag(element) == "Image")
    except (KeyError, ValueError) as e:
        raise UnreadableVolumeError(f"{path}: its OME-XML lacks or garbles what it has to say ({e})") from e
    if not images:
        raise UnreadableVolumeError(f"{path}: its OME-XML describes no image")
    foreign = [name for name in files if name]
    if not foreign:
        return OmeDocument(images, ())
    if is_companion(path, b"<"):
        return OmeDocument(images, tuple(files))
    named = tuple(name or path.name for name in files)
    return OmeDocument(images, tuple(dict.fromkeys(named)))


def _image(path: Path, element: ElementTree.Element, own: str | None, files: dict[str, None]) -> OmeImage:
    pixels = next(e for e in element if _tag(e) == "Pixels")
    about = dict(pixels.attrib)
    sizes = {axis: int(about[f"Size{axis}"]) for axis in "CZT"}
    if min(sizes.values()) < 1 or sizes["C"] * sizes["Z"] * sizes["T"] > 10_000_000:
        raise ValueError(f"sizes {sizes}")
    channels = [e for e in pixels if _tag(e) == "Channel"]
    samples = [int(e.get("SamplesPerPixel") or 1) for e in channels]
    if not channels or sum(samples) != sizes["C"] or len(set(samples)) > 1:
        # without usable channel elements every channel is a plane of its own
        names, n_samples = [""] * sizes["C"], 1
        if len(channels) == sizes["C"]:
            names = [e.get("Name", "") for e in channels]
    else:
        names, n_samples = [e.get("Name", "") for e in channels], samples[0]
    sizes["C"] = len(names)
    planes: dict[tuple[int, int, int], tuple[str, int]] = {}
    order = about.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"]:
        raise ValueError(f"DimensionOrder {about.get('DimensionOrder')!r}")
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    for data in (e for e in pixels if _tag(e) == "TiffData"):
        uuid = next((e for e in data if _tag(e) == "UUID"), None)
        name = "" if uuid is None or (own is not None and uuid.text == own) else uuid.get("FileName", "")
        name = _safe(path, name) if name else ""
        if name == path.name:
            name = ""
        files[name] = None
        stated = data.get("PlaneCount")
        count = int(stated) if stated is not None else (1 if data.get("IFD") is not None else total)
        directory = int(data.get("IFD") or 0)
        first = {axis: int(data.get(f"First{axis}") or 0) for axis in "CZT"}
        if n_samples > 1:
            first["C"] //= n_samples
        for offset, place in enumerate(itertools.islice(_places(order, sizes, first), min(count, total))):
            planes[place] = (name, directory + offset)
    return OmeImage(element.get("Name", ""), about, tuple(names), n_samples, planes)


def _places(order: str, sizes: Mapping[str, int], first: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    """(channel, slice, time) from `first` on, in DimensionOrder (its first letter varies fastest)."""
    a, b, c = order[0], order[1], order[2]
    start = first[a] + sizes[a] * (first[b] + sizes[b] * first[c])
    for index in range(start, sizes[a] * sizes[b] * sizes[c]):
        place = {a: index % sizes[a], b: index // sizes[a] % sizes[b], c: index // (sizes[a] * sizes[b])}
        yield place["C"], place["Z"], place["T"]


def _safe(path: Path, name: str) -> str:
    """A name in the folder of `path`. Raises UnreadableVolumeError for any other."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UnreadableVolumeError(f"{path}: its OME-XML names a file outside its folder ({name[:100]!r})")
    return name


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
