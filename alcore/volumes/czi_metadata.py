"""What the XML of a Zeiss CZI says: voxel size, names of channels and scenes, planned numbers of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN

UM_PER_M = 1e6


@dataclass(frozen=True)
class CziMetadata:
    """pixel_um: um along "X", "Y", "Z", where told. sizes: planned number of "T", "C", "Z", "S". channels, scenes: names."""

    pixel_um: dict[str, float]
    sizes: dict[str, int]
    channels: tuple[str, ...]
    scenes: dict[int, str]


def parse(path: Path, xml: str) -> CziMetadata:
    """Raises UnreadableVolumeError for XML that is damaged or defines entities."""
    if "<!ENTITY" in xml:
        raise UnreadableVolumeError(f"{path}: its metadata define entities; save it again")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as e:
        raise UnreadableVolumeError(f"{path}: its metadata are cut off or damaged; {AGAIN}") from e
    pixel_um = {}
    for distance in root.iterfind(".//Scaling/Items/Distance"):
        value = _number(distance.findtext("Value"))
        if value is not None and math.isfinite(value) and value > 0:
            pixel_um[distance.get("Id", "")] = float(f"{value * UM_PER_M:.9g}")
    image = root.find(".//Information/Image")
    sizes, channels, scenes = {}, [], {}
    if image is not None:
        for letter in "TCZS":
            size = _number(image.findtext(f"Size{letter}"))
            if size is not None and size >= 1:
                sizes[letter] = int(size)
        channels = [channel.get("Name", "") for channel in image.iterfind("Dimensions/Channels/Channel")]
        for scene in image.iterfind("Dimensions/S/Scenes/Scene"):
            index = _number(scene.get("Index"))
            if index is not None:
                scenes[int(index)] = scene.get("Name", "")
    return CziMetadata(pixel_um, sizes, tuple(channels), scenes)


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None
