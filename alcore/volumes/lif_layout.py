"""How an image lies in its memory block of a Leica LIF, from the XML that describes it: dimensions, channels, strides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from alcore.types import VoxelSize
from alcore.volumes.tiff_calibration import um_per

LETTERS = {1: "X", 2: "Y", 3: "Z", 4: "T", 5: "emission", 9: "excitation", 10: "M"}
"""DimID -> axis. Wavelengths are channels, M are the tiles of a mosaic; rotations, loops and lines are no dimension here."""
RGB_TAGS = (1, 2, 3)
"""ChannelTag of red, green and blue."""
MOST_ELEMENTS = 1 << 24
"""More elements along one dimension than any scan has."""


class NoImageError(ValueError):
    """Something that is no image of rows and columns; the message says what it is."""


@dataclass(frozen=True)
class _Dimension:
    """n elements, each `step` bytes after the one before; length from the first to the last, in um or in nm of light."""

    n: int
    step: int
    length: float
    origin: float
    unit: str


@dataclass(frozen=True)
class LifLayout:
    """One image of a file, or one for every tile of a mosaic.

    dtype: of a sample. starts: byte of every channel in the block. channels: their names. samples: 3 for colours, whose
    bytes from the start of a pixel are `colours`. steps: bytes from one element to the next, for M, T, Z, Y, X.
    """

    sizes: dict[str, int]
    steps: dict[str, int]
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    starts: tuple[int, ...]
    colours: tuple[int, ...]
    voxel_um: VoxelSize | None
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        n = math.prod(self.sizes.values()) * len(self.channels) * max(1, len(self.colours))
        return n * self.dtype.itemsize

    @property
    def extent(self) -> int:
        """Bytes of the memory block that the image needs."""
        last = sum((n - 1) * self.steps[letter] for letter, n in self.sizes.items())
        return last + max(self.starts) + max(self.colours, default=0) + self.dtype.itemsize


def layout_of(element: Element) -> LifLayout:
    """Raises NoImageError for what is no image, ValueError or KeyError for descriptions that are damaged."""
    about = element.find("./Data/Image/ImageDescription")
    if about is None:
        raise NoImageError("no image, but a measurement of lifetimes")
    dimensions: dict[str, _Dimension] = {}
    for found in about.iterfind("./Dimensions/DimensionDescription"):
        n = int(found.attrib["NumberOfElements"])
        letter = LETTERS.get(int(found.attrib["DimID"]))
        if n == 1 and letter not in ("X", "Y"):
            continue
        if letter is None or letter in dimensions:
            raise NoImageError(f"{n} rotations, lines or loops")
        step = int(found.attrib["BytesInc"])
        if not 0 < n <= MOST_ELEMENTS or step < 1:
            raise ValueError(f"{n} elements of {step} bytes")
        length, origin = float(found.attrib["Length"]), float(found.attrib["Origin"])
        dimensions[letter] = _Dimension(n, step, length, origin, found.attrib.get("Unit", ""))
    return _layout(dimensions, list(about.iterfind("./Channels/ChannelDescription")))


def _layout(dimensions: dict[str, _Dimension], described: Sequence[Element]) -> LifLayout:
    notes: tuple[str, ...] = ()
    if "X" not in dimensions:
        raise NoImageError("without columns")
    if "Y" not in dimensions and "Z" in dimensions:
        dimensions["Y"] = dimensions.pop("Z")
        notes = ("a scan in X and Z: its rows lie along Z",)
    if "Y" not in dimensions:
        raise NoImageError("a line")
    dtypes = {_dtype(channel) for channel in described}
    if len(dtypes) != 1:
        raise NoImageError(f"channels of {len(dtypes)} different kinds")
    dtype = dtypes.pop()
    tags = [int(channel.attrib["ChannelTag"]) for channel in described]
    starts = [int(channel.attrib["BytesInc"]) for channel in described]
    names = [channel.get("LUTName", "") for channel in described]
    pixel = dimensions["X"].step
    if min(starts) < 0 or pixel % dtype.itemsize or pixel > len(starts) * dtype.itemsize:
        raise ValueError(f"channels at bytes {starts}, pixels of {pixel} bytes")
    colours: tuple[int, ...] = ()
    if tuple(sorted(tags)) == RGB_TAGS and pixel == 3 * dtype.itemsize and max(starts) < pixel:
        colours = tuple(starts[tags.index(tag)] for tag in RGB_TAGS)
        starts, names = [0], [""]
    waves = [
        [(dimensions[word].step * i, _nm(dimensions[word], i, word)) for i in range(dimensions[word].n)]
        for word in ("emission", "excitation")
        if word in dimensions
    ]
    placed = [
        (start + sum(step for step, _ in wave), " ".join([*(name for _, name in wave), *([name] if not waves else [])]))
        for start, name in zip(starts, names, strict=True)
        for wave in itertools.product(*waves)
    ]
    kept = {letter: d for letter, d in dimensions.items() if letter in "MTZYX"}
    return LifLayout(
        sizes={letter: d.n for letter, d in kept.items()},
        steps={letter: d.step for letter, d in kept.items()},
        dtype=dtype,
        channels=tuple(name for _, name in placed),
        starts=tuple(start for start, _ in placed),
        colours=colours,
        voxel_um=_voxel_um(kept),
        notes=notes,
    )


def _dtype(channel: Element) -> np.dtype[Any]:
    bits, kind = int(channel.attrib["Resolution"]), {"0": "u", "1": "f"}[channel.attrib["DataType"]]
    if not 0 < bits <= 64:
        raise ValueError(f"{bits} bits per sample")
    n_bytes = next(n for n in (1, 2, 4, 8) if bits <= 8 * n)
    return np.dtype(f"<{kind}{n_bytes}")


def _nm(wave: _Dimension, index: int, word: str) -> str:
    """Name of one step of a sweep over wavelengths."""
    position = wave.origin + wave.length * index / max(1, wave.n - 1)
    return f"{word} {position * (um_per(wave.unit) or math.nan) * 1e3:.0f} nm"


def _voxel_um(dimensions: dict[str, _Dimension]) -> VoxelSize | None:
    """(z, y, x) um; a single slice gets the size of y."""
    sizes = {}
    for letter in "ZYX":
        d = dimensions.get(letter)
        if d is not None and d.n > 1:
            sizes[letter] = abs(d.length) / (d.n - 1) * (um_per(d.unit) or math.nan)
    if "Z" not in dimensions and "Y" in sizes:
        sizes["Z"] = sizes["Y"]
    if set(sizes) != set("ZYX") or not all(math.isfinite(n) and n > 0 for n in sizes.values()):
        return None
    z, y, x = (float(f"{sizes[letter]:.9g}") for letter in "ZYX")
    return z, y, x
