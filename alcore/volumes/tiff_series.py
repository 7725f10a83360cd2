"""Which images a TIFF without OME-XML holds, and where their planes are: tifffile's series, proved against the chain of pages."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN
from alcore.volumes.tiff_chain import Page, pages_of

ASIDE = ("Thumbnail", "Label", "Macro", "Map")
"""Names that tifffile gives to the small pictures beside a slide."""
PLAIN = ("generic", "uniform", "shaped", "imagej")
"""Kinds of series that account for every page of a file."""

LEAST_RESERVED = 1024
"""So many zeros at the end of a file may be padding."""
MOST_LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class Stack:
    """One image. axes, shape: tifffile's letters and sizes. keyframe: the page that says how to decode all of them.

    pages: the planes in order, as tifffile's pages or as offsets of their directories; empty when start is given: the byte
    at which all planes begin, one after the other, behind a single directory. per_page: planes that one page holds as its
    samples, because the writer called slices of a few planes colours.
    """

    axes: str
    shape: tuple[int, ...]
    keyframe: Any
    pages: Sequence[Any]
    start: int | None = None
    name: str = ""
    per_page: int = 1

    @property
    def n_planes(self) -> int:
        """Planes that the shape promises."""
        beside = math.prod(n for letter, n in zip(self.axes, self.shape, strict=True) if letter in "SYX")
        return math.prod(self.shape) // beside


def stacks_of(path: Path, tif: tifffile.TiffFile) -> list[Stack]:
    """The images of the file, thumbnails and pyramid levels aside.

    Raises UnreadableVolumeError for a file without any, one that belongs to others, and pages that are not accounted for.
    """
    _stands_alone(path, tif)
    every = [s for s in tif.series if not s.keyframe.is_reduced] or list(tif.series)
    found = [s for s in every if s.name not in ASIDE] or every
    if not found:
        raise UnreadableVolumeError(f"{path}: no image in the file; {AGAIN}")
    chain = pages_of(path)
    if len(found) > 1 and any(s.kind == "generic" for s in found):
        _refuse_mixed(path, chain)
    stacks = _joined(found) or [_stack(path, s, chain) for s in found]
    promised = _promised(tif)
    if promised is not None and promised != stacks[0].n_planes:
        raise UnreadableVolumeError(
            f"{path}: its metadata promise {promised} planes, {stacks[0].n_planes} are there; "
            "was the file still being written? Copy or save it again"
        )
    held, present = sum(s.n_planes for s in stacks), sum(not page.is_reduced for page in chain)
    if held < present and all(s.kind in PLAIN for s in found) and found == every:
        raise UnreadableVolumeError(
            f"{path}: its metadata promise {held} planes, {present} are there; is it damaged? Copy or save it again"
        )
    _refuse_reserved(path, chain, stacks)
    return stacks


def _refuse_reserved(path: Path, chain: Sequence[Page], stacks: Sequence[Stack]) -> None:
    """Room for more pages that holds nothing but zeros: the chain seems to end there, because its next link is a zero too."""
    ends = [page.end for page in chain]
    ends += [s.start + math.prod(s.shape) * s.keyframe.dtype.itemsize for s in stacks if s.start is not None]
    tail = max(LEAST_RESERVED, min(page.n_bytes for page in chain) // 2)
    size = os.stat(path).st_size
    if size - max(ends) < tail:
        return
    with open(path, "rb") as f:
        f.seek(size - min(tail, MOST_LOOKED_AT))
        if not any(f.read()):
            raise UnreadableVolumeError(
                f"{path}: {size - max(ends)} bytes after its last page were reserved but not written; {AGAIN}"
            )


def _stands_alone(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse what tifffile would complete from other files by itself."""
    if tif.is_ndtiff:
        raise UnreadableVolumeError(f"{path}: one file of an NDTiff data set of Micro-Manager; export that as OME-TIFF")
    if not tif.is_mmstack:
        return
    metadata: Any = tif.micromanager_metadata
    index, summary = metadata["IndexMap"], metadata["Summary"]
    keys = ("Channels", "Slices", "Frames", "Positions")
    promised = math.prod(max(int(index[:, i].max()) + 1, int(summary.get(key, 1))) for i, key in enumerate(keys))
    if promised > len(index):
        raise UnreadableVolumeError(
            f"{path}: {len(index)} of the {promised} planes of a Micro-Manager acquisition: stopped early, "
            "or in several "
            "files; save it as one OME-TIFF"
        )


def _refuse_mixed(path: Path, chain: Sequence[Page]) -> None:
    """Pages of several sizes are several images only when those of each follow each other, as many of each, stored alike.

    Anything else looks like a stack with one page that is damaged, or not finished.
    """
    kinds = ((page.geometry, page.layout) for page in chain if not page.is_reduced)
    runs = [(kind, len(list(pages))) for kind, pages in itertools.groupby(kinds)]
    if len({geometry for (geometry, _), _ in runs}) < len(runs) or len({n for _, n in runs}) > 1:
        raise UnreadableVolumeError(
            f"{path}: its pages differ in size, bits or compression without order: several images, "
            "or an unfinished one; save them apart"
        )


def _joined(series: list[Any]) -> list[Stack]:
    """Planes of one size that were each written as an image of its own are one stack, of which nothing is known; else []."""
    first = series[0].keyframe
    alike = all(s.kind == "shaped" and len(s) == 1 and s.keyframe.hash == first.hash for s in series)
    planar = series[0].axes.replace("S", "") == "YX"
    if len(series) == 1 or not alike or not planar:
        return []
    shape = (len(series), *series[0].shape)
    return [Stack("I" + series[0].axes, shape, first, [s.keyframe.offset for s in series])]


def _stack(path: Path, series: Any, chain: Sequence[Page]) -> Stack:
    """Where the planes of one series are; raises unless every one that is promised is there and like the others."""
    axes, shape, key, name = str(series.axes), tuple(int(n) for n in series.shape), series.keyframe, str(series.name)
    if "S" not in axes and key.samplesperpixel > 1 and int(key.planarconfig) == 2 and key.axes[:1] == "S":
        axes = axes.replace("C", "S")  # samples that Bio-Formats calls channels in ImageJ's words
    n = Stack(axes, shape, key, ()).n_planes
    if "S" not in axes and key.samplesperpixel > 1 and int(key.planarconfig) == 2:
        return _slices_as_samples(path, series, axes, shape)
    if series.dataoffset is not None and n > 1 and (series.is_truncated or len(chain) == 1):
        return Stack(axes, shape, key, (), int(series.dataoffset), name)
    if (
        series.dataoffset is not None and n > 1 and series.kind in ("shaped", "imagej")
    ):  # tifffile looks at its first page
        pages = chain[key.index : key.index + n]
        if len({(p.geometry, p.layout) for p in pages}) > 1:
            raise UnreadableVolumeError(f"{path}: pages of one image differ in size, bits or compression; {AGAIN}")
        offsets = [page.offset for page in pages]
    else:
        offsets = list(series)
    present = sum(page is not None for page in offsets)
    if len(offsets) != n or present != n:
        raise UnreadableVolumeError(f"{path}: {present} planes are there, {n} are declared; {AGAIN}")
    return Stack(axes, shape, key, offsets, name=name)


def _slices_as_samples(path: Path, series: Any, axes: str, shape: tuple[int, ...]) -> Stack:
    """tifffile writes 3 or 4 slices as the colours of one page, unless it is told that they are grey, and knows better."""
    pages, samples = list(series), int(series.keyframe.samplesperpixel)
    n = math.prod(shape[:-2])
    if None in pages or len(pages) * samples != n:
        raise UnreadableVolumeError(f"{path}: {len(pages) * samples} planes are there, {n} are declared; {AGAIN}")
    return Stack(axes, shape, series.keyframe, pages, name=str(series.name), per_page=samples)


def _promised(tif: tifffile.TiffFile) -> int | None:
    """How many planes ImageJ's description promises."""
    if not tif.is_imagej:
        return None
    metadata = tif.imagej_metadata or {}
    counts = [metadata.get(key, 1) for key in ("channels", "slices", "frames")]
    stated = [n for n in (*counts, metadata.get("images", 1)) if isinstance(n, int)]
    return max(math.prod(stated[:3]), stated[-1]) if len(stated) == 4 else None
