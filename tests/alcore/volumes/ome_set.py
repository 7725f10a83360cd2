"""Writes multi-file OME-TIFF as the specification describes it, independent of the reader: planes spread over files by a rule."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
TYPES = {"float32": "float", "float64": "double"}


def write_ome_set(
    folder: Path,
    images: Sequence[np.ndarray[Any, Any]],
    file_of: Callable[[int, int, int, int], str],
    companion: str | None = None,
    order: str = "XYCZT",
    names: Sequence[str] | None = None,
    more: str = "",
    **options: Any,
) -> list[str]:
    """Write `images`, each (T, C, Z, Y, X), one directory per plane; file_of(scene, t, c, z) names the file of each.

    With `companion`, that file alone holds the description. Returns the names of the TIFFs in order of first mention.
    """
    pages: dict[str, list[np.ndarray[Any, Any]]] = {}
    data: list[list[str]] = []
    for scene, image in enumerate(images):
        sizes = dict(zip("TCZ", image.shape[:3], strict=True))
        slowest_first = order[:1:-1]
        lines = []
        for place in itertools.product(*(range(sizes[axis]) for axis in slowest_first)):
            at = dict(zip(slowest_first, place, strict=True))
            name = file_of(scene, at["T"], at["C"], at["Z"])
            held = pages.setdefault(name, [])
            lines.append(
                f'<TiffData FirstT="{at["T"]}" FirstC="{at["C"]}" FirstZ="{at["Z"]}" IFD="{len(held)}" PlaneCount="1">'
                f'<UUID FileName="{name}">{identity(name)}</UUID></TiffData>'
            )
            held.append(image[at["T"], at["C"], at["Z"]])
        data.append(lines)
    body = more + "".join(_image(i, image, order, data[i], names) for i, image in enumerate(images))
    for name, planes in pages.items():
        xml = ome(f'<BinaryOnly MetadataFile="{companion}" UUID="{identity(companion)}"/>' if companion else body, name)
        with tifffile.TiffWriter(folder / name) as tif:
            for index, plane in enumerate(planes):
                tif.write(
                    plane,
                    photometric="minisblack",
                    metadata=None,
                    contiguous=False,
                    description=xml.encode() if index == 0 else None,
                    **options,
                )
    if companion:
        (folder / companion).write_text('<?xml version="1.0" encoding="UTF-8"?>\n' + ome(body, companion))
    return list(pages)


def identity(name: str) -> str:
    """The UUID of a file."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def ome(body: str, name: str) -> str:
    """A whole description, as the file `name` carries it."""
    return f'<OME xmlns="{NAMESPACE}" UUID="{identity(name)}">{body}</OME>'


def _image(
    index: int, image: np.ndarray[Any, Any], order: str, data: Sequence[str], names: Sequence[str] | None
) -> str:
    t, c, z, y, x = image.shape
    channels = "".join(
        f'<Channel ID="Channel:{index}:{i}" SamplesPerPixel="1"' + (f' Name="{names[i]}"/>' if names else "/>")
        for i in range(c)
    )
    return (
        f'<Image ID="Image:{index}" Name="well {index}"><Pixels ID="Pixels:{index}" DimensionOrder="{order}" '
        f'Type="{TYPES.get(image.dtype.name, image.dtype.name)}" SizeT="{t}" SizeC="{c}" SizeZ="{z}" SizeY="{y}" SizeX="{x}" '
        f'PhysicalSizeZ="2" PhysicalSizeY="0.5" PhysicalSizeX="0.25">{channels}{"".join(data)}</Pixels></Image>'
    )
