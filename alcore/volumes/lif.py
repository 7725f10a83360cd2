"""Leica LIF as volumes: the package liffile finds the images and their memory blocks, the bytes are read by their strides."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes.extras import needed
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.images import Image, ImageFile
from alcore.volumes.lif_layout import LifLayout, NoImageError, layout_of
from alcore.volumes.port import Array, ReadOptions
from alcore.volumes.rawfile import RawFile

HEAD = struct.Struct("<IIBI")
"""0x70, bytes of the description, 0x2A, characters of it."""
DESCRIPTION = "<LMSDataContainerHeader".encode("utf-16-le")
DESCRIPTION_LIMIT_BYTES = 512 << 20
MOST_TOLD = 3


@dataclass(frozen=True)
class _Placed:
    """Where an image lies: byte of its memory block, and of its tile in that."""

    layout: LifLayout
    start: int


def signature(path: Path, head: bytes) -> bool:
    """True for LIF; LOF and XLIF files, which hold one image of a project, are others."""
    return len(head) >= 64 and HEAD.unpack_from(head)[::2] == (0x70, 0x2A) and head[13:].startswith(DESCRIPTION)


class LifFile(ImageFile):
    """One LIF file. Every image in it is a scene, and every tile of one that was not merged."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        liffile = needed(path, "liffile", "lif", "a Leica LIF file")
        self._file = RawFile(path)
        try:
            self.stored_bytes = self._file.size
            characters = HEAD.unpack(self._file.bytes(0, HEAD.size))[3]
            if 2 * characters > min(DESCRIPTION_LIMIT_BYTES, self._file.size - HEAD.size):
                raise UnreadableVolumeError(f"{path}: its description of {2 * characters} bytes is cut off; {AGAIN}")
            with readable(path), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with liffile.LifFile(path) as f:
                    self._interpret(f)
        except BaseException:
            self.close()
            raise

    def _interpret(self, f: Any) -> None:
        path = self.path
        for block in f.memory_blocks.values():
            if block.offset + block.size > self._file.size:
                raise UnreadableVolumeError(
                    f"{path}: memory block {block.id} ends at byte {block.offset + block.size}, the file at "
                    f"{self._file.size}; was it still being written? Copy or save it again"
                )
        self._placed: list[_Placed] = []
        images: list[Image] = []
        left_out: list[str] = []
        for name, element in _elements(f.xml_element):
            try:
                layout = layout_of(element)
            except NoImageError as e:
                left_out.append(f"{name} ({e})")
                continue
            self._place(name, element, layout, images, f.memory_blocks)
        if left_out and not images:
            raise UnreadableVolumeError(f"{path}: holds no image: {', '.join(left_out[:MOST_TOLD])}")
        self.images = images
        if left_out:
            more = ", ..." if len(left_out) > MOST_TOLD else ""
            note = f"left out, as no images: {', '.join(left_out[:MOST_TOLD])}{more}"
            self.images = [replace(image, notes=(*image.notes, note)) for image in images]

    def _place(
        self, name: str, element: Element, layout: LifLayout, images: list[Image], blocks: dict[str, Any]
    ) -> None:
        """Add an image, or one for each of its tiles, proved to lie in its memory block."""
        memory = element.find("./Memory")
        block = blocks.get("" if memory is None else memory.get("MemoryBlockID", ""))
        if block is None:
            raise UnreadableVolumeError(f"{self.path}: the voxels of {name} are missing: cut off; {AGAIN}")
        wanted = max(layout.extent, layout.nbytes)
        if wanted > block.size:
            raise UnreadableVolumeError(
                f"{self.path}: {name} needs {wanted} bytes, its memory block has {block.size}; {AGAIN}"
            )
        notes = layout.notes
        if (more := block.size - layout.extent) >= max(layout.steps.values()):
            notes += (
                f"its memory block has {more} bytes more than its description speaks of: is it damaged? "
                "Copy or save it again",
            )
        sizes, n_tiles = layout.sizes, layout.sizes.get("M", 1)
        for tile in range(n_tiles):
            self._placed.append(_Placed(layout, block.offset + tile * layout.steps.get("M", 0)))
            images.append(
                Image(
                    name=name + (f", tile {tile + 1}" if n_tiles > 1 else ""),
                    n_times=sizes.get("T", 1),
                    channels=layout.channels,
                    n_slices=sizes.get("Z", 1),
                    height=sizes["Y"],
                    width=sizes["X"],
                    dtype=layout.dtype,
                    samples=3 if layout.colours else 1,
                    voxel_um=layout.voxel_um,
                    notes=notes,
                )
            )

    def read(self, image: int, time: int, channel: int, box: Box) -> Array:
        placed = self._placed[image]
        layout, steps = placed.layout, placed.layout.steps
        size = layout.dtype.itemsize
        start = layout.starts[channel]
        within = start % steps["X"]  # samples of several channels may lie side by side
        chosen = [within // size] if not layout.colours else [offset // size for offset in layout.colours]
        begin = placed.start + start - within + time * steps.get("T", 0)
        z, rows, columns = box.slices
        out = np.empty((*box.shape, len(chosen)), layout.dtype)
        for index, slice_ in enumerate(range(z.start, z.stop)):
            offset = begin + slice_ * steps.get("Z", 0)
            pixels = self._file.plane(offset, layout.dtype, steps["X"] // size, steps["Y"], rows, columns)
            out[index] = pixels[..., chosen]
        return out if layout.colours else out[..., 0]

    def problem(self) -> str:
        return ""  # every memory block is proved when the file is opened

    def close(self) -> None:
        self._file.close()


def _elements(element: Element, above: str | None = None) -> Iterator[tuple[str, Element]]:
    """(path, element) of everything that was imaged; the path begins below the project."""
    for child in (*element.iterfind("./Children/Element"), *element.iterfind("./Element")):
        name = child.get("Name", "") if above is not None else ""
        path = f"{above}/{name}" if above else name
        if child.find("./Data/Image") is not None or child.find("./Data/SingleMoleculeDetection") is not None:
            yield path, child
        yield from _elements(child, path)
