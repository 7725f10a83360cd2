"""Proof that a TIFF is complete: what tifffile would read as fewer slices, as zeros or without end is refused."""

from __future__ import annotations

import os
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes import tiff_chain
from alcore.volumes.faults import readable
from alcore.volumes.port import ReadOptions
from alcore.volumes.tiff import tiff_images
from alcore.volumes.tiff_ome import is_companion
from alcore.volumes.tiff_planes import TiffPlanes
from alcore.volumes.tiff_set import document_of, missing_of, set_of

BOMB_RATIO = 1000
"""No compressor makes real images that small; deflate ends at 1032, for one constant value."""
BOMB_BYTES = 256 << 20
"""Below this decoded size the ratio does not matter."""


def tiff_problems(path: Path, options: ReadOptions, limit_bytes: int) -> list[str]:
    """What is wrong with a TIFF, from its directories and metadata alone (no voxel is decoded); empty when complete.

    limit_bytes: largest decoded size that is believed. Raises PartOfSetError for a file for which another one stands.
    """
    names: tuple[str, ...] = (path.name,)
    with readable(path), open(path, "rb") as f:
        companion = is_companion(path, f.read(64))
    if not companion:
        problem, unlike = _chain(path)
        if problem:
            return [problem]
    try:
        if not companion and unlike and document_of(path) is None:  # OME names its images and counts their planes
            return [unlike]
        found = set_of(path)
        if found is not None:
            names = found
            if missing := missing_of(path, names):
                return [f"missing {len(missing)} of {len(names)} files: {', '.join(missing[:5])}"]
            for name in names:
                member = path.with_name(name)
                if member != path and (problem := _chain(member)[0]):
                    return [f"{name}: {problem}"]
        images = tiff_images(path, options)
    except UnreadableVolumeError as e:
        return [str(e).removeprefix(f"{path}: ")]
    stored = sum(path.with_name(name).stat().st_size for name in names)
    try:
        for image in images:
            image.check()
        first, nbytes = images[0], sum(image.nbytes for image in images)
        shape = (first.n_times, len(first.channels), first.n_slices, first.height, first.width)
        problem = _size_problem(shape, str(first.dtype), nbytes, stored, limit_bytes)
        return [problem] if problem else []
    except UnreadableVolumeError as e:
        return [str(e).removeprefix(f"{path}: ")]
    finally:
        for image in images:
            image.close()


def label_problem(path: Path, limit_bytes: int) -> str:
    """What is wrong with a TIFF of one image, whatever its dimensions are called; "" when nothing is."""
    problem = " ".join(_chain(path)).strip()
    if problem:
        return problem
    try:
        planes = TiffPlanes(path)
    except UnreadableVolumeError as e:
        return str(e).removeprefix(f"{path}: ")
    try:
        return _size_problem(planes.shape, str(planes.dtype), planes.nbytes, planes.file_bytes, limit_bytes)
    finally:
        planes.close()


def _size_problem(shape: tuple[int, ...], dtype: str, nbytes: int, stored: int, limit_bytes: int) -> str:
    """Is the decoded size one that can be true?"""
    claimed = nbytes / 2**30
    if nbytes > limit_bytes:
        return f"{shape} {dtype} is {claimed:.3g} GB, above the limit of {limit_bytes / 2**30:.3g} GB"
    if nbytes > max(BOMB_BYTES, BOMB_RATIO * stored):
        return f"{stored} bytes claim to hold {claimed:.3g} GB: no image compresses so well"
    return ""


def _chain(path: Path) -> tuple[str, str]:
    """(pages that are cut off, reserved but unwritten or outside the file; pages that are unlike each other), in words."""
    kinds: dict[tuple[tuple[int, ...], ...], int] = {}
    with readable(path):
        size = os.stat(path).st_size
        try:
            for page in tiff_chain.walk(path):
                segments = page.segments
                if not segments:
                    return f"page {page.index} has no image data", ""
                bad = next(((o, n) for o, n in segments if not o or not n or o + n > size), None)
                if bad is not None:
                    where = f"{bad[1]} bytes at byte {bad[0]}" if all(bad) else "never written"
                    return f"page {page.index}: image data {where}, the file ends at {size}", ""
                if not page.is_reduced:
                    kinds.setdefault(page.kind, page.index)
        except tiff_chain.BrokenChainError as e:
            return str(e), ""
    if len(kinds) > 1:
        first, other = sorted(kinds.values())[:2]
        return (
            "",
            f"pages {first} and {other} differ in size, bits or compression: several images, or an unfinished one",
        )
    return "", ""
