"""Proof that an OME-Zarr is complete: every chunk of every image is there, because zarr reads missing ones as empty space."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from alcore.errors import UnreadableVolumeError
from alcore.volumes.faults import AGAIN, readable
from alcore.volumes.port import ReadOptions
from alcore.volumes.zarr_array import ZarrArray
from alcore.volumes.zarr_images import images_of
from alcore.volumes.zarr_reader import open_array

LINK = -1
"""Stands for the size of a link."""


def zarr_problems(path: Path, options: ReadOptions, limit_bytes: int) -> list[str]:
    """What is wrong with an OME-Zarr, from its metadata and the sizes of its files; empty when it is complete.

    limit_bytes: largest decoded size of all images together that is believed. Lower resolutions are not looked at.
    """
    try:
        with readable(path):
            problem = _problem(path, options, limit_bytes)
    except UnreadableVolumeError as e:
        problem = str(e).removeprefix(f"{path}: ")
    return [problem] if problem else []


def _problem(path: Path, options: ReadOptions, limit_bytes: int) -> str:
    images = images_of(path, options)
    nbytes = 0
    for image in images:
        nbytes += image.array.nbytes
        if nbytes > limit_bytes:
            claimed, limit = nbytes / 2**30, limit_bytes / 2**30
            return (
                f"{image.array.shape} {image.array.dtype.name} is {claimed:.3g} GB, "
                f"above the limit of {limit:.3g} GB: "
                "leave it out, or raise run.max_volume_gb"
            )
    for image in images:
        open_array(path, image.array)
        if problem := _chunks(path, image.array, options.sparse):
            return f"array {image.array.key}: {problem}" if image.array.key else problem
    return ""


def _chunks(path: Path, array: ZarrArray, sparse: bool) -> str:
    """What is wrong with the files of one array, in words. They are counted as the folders list them, in flat memory."""
    grid, word = array.grid, array.file_word
    total, found = math.prod(grid), 0
    for name, size, inside in _files(path / array.key, array):
        if size == LINK:
            return f"{word} {name} is a link, which is not followed: copy what it points to into the tree"
        if size == 0:
            return f"{word} {name} is empty (0 bytes): was it still being written? Copy or save it again"
        if not inside:
            return (
                f"{word} {name} lies outside its shape {array.shape}: were its metadata not brought up to date? "
                "Save it again"
            )
        if size < array.least_bytes or (array.exact_bytes is not None and size != array.exact_bytes):
            expected = array.least_bytes if array.exact_bytes is None else array.exact_bytes
            return f"{word} {name} has {size} bytes, expected {expected}: cut off, or damaged; {AGAIN}"
        found += 1
    if found == total or (sparse and found):
        return ""
    if sparse:
        return f"none of its {total} {word}s is there; {AGAIN}"
    return (
        f"{total - found} of {total} {word}s are missing: not written yet, or left out because they are empty: "
        "copy it again, or "
        f"set sparse = true for its watched folder if its writer leaves out empty {word}s"
    )


def _files(folder: Path, array: ZarrArray) -> Iterator[tuple[str, int, bool]]:
    """(name, bytes, whether it has a place in the grid) of every file that is called like one of the chunks."""
    if array.separator == "/":
        start = folder / array.prefix.rstrip("/")
        if start.is_symlink():
            return iter([(array.prefix, LINK, True)])
        return _nested(start, array.prefix, array.grid, True) if start.is_dir() else iter(())
    return _flat(folder, array)


def _nested(folder: Path | str, prefix: str, grid: tuple[int, ...], inside: bool) -> Iterator[tuple[str, int, bool]]:
    """One level of folders per dimension."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_number(entry.name):
                continue
            there = inside and int(entry.name) < grid[0]
            if entry.is_symlink():
                yield prefix + entry.name, LINK, there
            elif len(grid) > 1:
                if entry.is_dir(follow_symlinks=False):
                    yield from _nested(entry.path, f"{prefix}{entry.name}/", grid[1:], there)
            elif entry.is_file(follow_symlinks=False):
                yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size, there


def _flat(folder: Path, array: ZarrArray) -> Iterator[tuple[str, int, bool]]:
    """All files in one folder."""
    start, grid = len(array.prefix), array.grid
    with os.scandir(folder) as entries:
        for entry in entries:
            numbers = entry.name[start:].split(".")
            if not entry.name.startswith(array.prefix) or len(numbers) != len(grid):
                continue
            if all(map(_is_number, numbers)):
                there = all(int(n) < size for n, size in zip(numbers, grid, strict=True))
                if entry.is_symlink():
                    yield entry.name, LINK, there
                elif entry.is_file(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False).st_size, there


def _is_number(name: str) -> bool:
    """Is this how a place in the grid is written? Others are files of somebody else's."""
    return name.isascii() and name.isdigit() and len(name) < 16 and (name[0] != "0" or name == "0")
