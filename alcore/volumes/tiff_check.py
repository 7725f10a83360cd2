"""Proof that a TIFF is complete: what tifffile would read as fewer slices, as zeros or without end is refused."""

from __future__ import annotations

import os
from pathlib import Path

from alcore.errors import PartOfSetError, UnreadableVolumeError
from alcore.volumes import tiff_chain
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import ReadOptions
from alcore.volumes.tiff import tiff_images
from alcore.volumes.tiff_ome import OmeDocument, is_companion
from alcore.volumes.tiff_set import document_of, missing_of, open_planes, set_of

BOMB_RATIO = 1000
"""No compressor makes real images that small; deflate ends at 1032, for one constant value."""
BOMB_BYTES = 256 << 20
"""Below this decoded size the ratio does not matter."""


def tiff_problems(path: Path, options: ReadOptions, limit_bytes: int) -> list[str]:
    """What is wrong with a TIFF, from its directories and metadata alone (no voxel is decoded); empty when complete.

    limit_bytes: largest decoded size that is believed. Raises PartOfSetError for a file for which another one stands.
    """
    try:
        problem = _set_problem(path) or _content_problem(path, options, limit_bytes)
    except UnreadableVolumeError as e:
        problem = str(e).removeprefix(f"{path}: ")
    return [problem] if problem else []


def label_problem(path: Path, limit_bytes: int) -> str:
    """What is wrong with a TIFF of one image, whatever its dimensions are called; "" when nothing is."""
    try:
        if problem := _set_problem(path):
            return problem
        if set_of(path) is not None:
            return "one of several files that belong together; a label is one file"
        planes = open_planes(path)
        try:
            if planes.n_scenes > 1:
                return f"{planes.n_scenes} images in one file; a label is one mask (Z, Y, X)"
            return size_problem(planes.shape, str(planes.dtype), planes.nbytes, os.stat(path).st_size, limit_bytes)
        finally:
            planes.close()
    except (UnreadableVolumeError, PartOfSetError) as e:
        return str(e).removeprefix(f"{path}: ")


def _set_problem(path: Path) -> str:
    """What is wrong with the files as files: those that are missing, cut off, unwritten, or not accounted for."""
    with readable(path), open(path, "rb") as f:
        companion = is_companion(path, f.read(64))
    if not companion and (problem := _chain(path)):
        return problem
    names = set_of(path)
    if names is not None:
        if missing := missing_of(path, names):
            more = ", ..." if len(missing) > 5 else ""
            return f"missing {len(missing)} of {len(names)} files: {', '.join(missing[:5])}{more}; copy them too"
        for name in names:
            if name != path.name and (problem := _chain(path.with_name(name))):
                return f"{name}: {problem}"
    document = document_of(path)
    return "" if document is None else _left_out(path, document)


def _left_out(path: Path, document: OmeDocument) -> str:
    """Pages that look like planes of an image, but that the OME-XML does not speak of."""
    for number, name in enumerate(document.files):
        pages = tiff_chain.pages_of(path.with_name(name))
        named = {d for image in document.images for d in image.directories[image.files == number].tolist()}
        alike = {pages[d].geometry for d in named if d < len(pages)}
        more = sum(d not in named and page.geometry in alike and not page.is_reduced for d, page in enumerate(pages))
        if more:
            where = "" if name == path.name else f"{name}: "
            return (
                f"{where}{more} of its {len(pages)} pages are planes that its OME-XML does not speak of; "
                "is it damaged? Copy or save it again"
            )
    return ""


def _content_problem(path: Path, options: ReadOptions, limit_bytes: int) -> str:
    """What is wrong with the images in the files."""
    stored = sum(path.with_name(name).stat().st_size for name in set_of(path) or (path.name,))
    nbytes = 0
    for image in tiff_images(path, options):
        nbytes += image.nbytes
        shape = (image.n_times, len(image.channels), image.n_slices, image.height, image.width)
        if problem := size_problem(shape, str(image.dtype), nbytes, stored, limit_bytes):
            return problem
        image.check()
    return ""


def size_problem(shape: tuple[int, ...], dtype: str, nbytes: int, stored: int, limit_bytes: int) -> str:
    """Is the decoded size one that can be true?"""
    claimed = nbytes / 2**30
    if nbytes > limit_bytes:
        return (
            f"{shape} {dtype} is {claimed:.3g} GB, above the limit of {limit_bytes / 2**30:.3g} GB: "
            "leave it out, or raise run.max_volume_gb"
        )
    if nbytes > max(BOMB_BYTES, BOMB_RATIO * stored):
        return f"{stored} bytes claim to hold {claimed:.3g} GB: no image compresses so well; {AGAIN}, or leave it out"
    return ""


def _chain(path: Path) -> str:
    """Pages that are cut off, reserved but unwritten, or outside the file, in words; "" when there are none."""
    with readable(path):
        size = os.stat(path).st_size
        try:
            for page in tiff_chain.walk(path):
                segments = page.segments
                if 0 in (*page.geometry[0], *page.geometry[1]):
                    return f"page {page.index} is an image without height or width; {AGAIN}"
                if not segments:
                    return f"page {page.index} has no image data; {AGAIN}"
                bad = next(((o, n) for o, n in segments if not o or not n or o + n > size), None)
                if bad is not None:
                    if not all(bad):
                        return f"the image data of page {page.index} were never written; {AGAIN}"
                    return (
                        f"the image data of page {page.index} are {bad[1]} bytes at byte {bad[0]}, "
                        f"but the file ends at {size}: "
                        f"cut off; {AGAIN}"
                    )
                held = sum(n for _, n in segments)
                if held < page.raw_bytes:
                    return f"page {page.index}: {held} of {page.raw_bytes} bytes of image data were written; {AGAIN}"
        except tiff_chain.BrokenChainError as e:
            return str(e)
    return ""
