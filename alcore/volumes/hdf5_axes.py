"""What the dimensions of a dataset in an HDF5 file mean, and how large its voxels are: from attributes, or from a person's word."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from alcore.errors import UnreadableVolumeError
from alcore.types import VoxelSize
from alcore.volumes.port import ReadOptions

LETTERS = set("TCZYX")


def letters_of(path: Path, dataset: Any, options: ReadOptions) -> tuple[str, ...]:
    """One of T, C, Z, Y, X per dimension of a dataset, "" for dimensions of one without a name.

    A person's word wins over the file's where it names as many dimensions. Z, T and C are never guessed: raises
    UnreadableVolumeError with the question.
    """
    shape, told = tuple(dataset.shape), _told(dataset)
    long = [i for i, n in enumerate(shape) if n > 1 or i >= len(shape) - 2]
    for wanted, at in ((options.axes, range(len(shape))), (options.axes, long)):
        if wanted is not None and len(wanted) == len(at):
            named = dict(zip(at, wanted, strict=True))
            return tuple(named.get(i, "") for i in range(len(shape)))
    if told is not None:
        return told
    if len(long) == 2:
        return tuple("YX"[long.index(i)] if i in long else "" for i in range(len(shape)))
    if options.axes is not None:
        raise UnreadableVolumeError(
            f'{path}: axes = "{options.axes}" of its watched folder names {len(options.axes)} dimensions, {dataset.name} has '
            f"{len(long)}: {shape}"
        )
    if len(long) == 3:
        question = f'are the {shape[long[0]]} planes slices, time points or channels? Set axes = "ZYX", "TYX" or "CYX"'
    else:
        question = f'what are its dimensions {shape}? Set axes, such as "{"TZCYX"[-len(long) :]}",'
    raise UnreadableVolumeError(f"{path}: {dataset.name}: {question} for its watched folder in config.toml")


def _told(dataset: Any) -> tuple[str, ...] | None:
    """Letters from `axistags` (vigra, ilastik) or from the labels of the dimensions; None when they are not all known."""
    for words in (_axistags(dataset), [str(dimension.label) for dimension in dataset.dims]):
        letters = tuple(word.strip().upper() for word in words)
        if (
            len(letters) == len(dataset.shape)
            and len(set(letters)) == len(letters)
            and {"Y", "X"} <= set(letters) <= LETTERS
        ):
            return letters
    return None


def _axistags(dataset: Any) -> list[str]:
    tags = dataset.attrs.get("axistags")
    try:
        text = tags.decode() if isinstance(tags, bytes) else str(tags)
        return [str(axis["key"]) for axis in json.loads(text)["axes"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def voxel_um_of(dataset: Any, n_slices: int) -> VoxelSize | None:
    """(z, y, x) um from the attribute `element_size_um`, None where it is not there or no size. One slice may have (y, x)."""
    try:
        sizes = [float(n) for n in dataset.attrs.get("element_size_um", ())]
    except (ValueError, TypeError):
        return None
    if len(sizes) == 2 and n_slices == 1:
        sizes = [sizes[0], *sizes]
    if len(sizes) != 3 or not all(math.isfinite(n) and n > 0 for n in sizes):
        return None
    return sizes[0], sizes[1], sizes[2]
