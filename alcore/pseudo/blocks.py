"""Blocks with halo over a grid that is too large for memory, each of whose results survives a kill."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import Preempted
from alcore.stage import Context
from alcore.types import Box

Zyx = tuple[int, int, int]
Arrays = Mapping[str, npt.NDArray[Any]]


def layout(shape: Zyx, core: Zyx) -> list[Box]:
    """Boxes of `core` voxels (the last along an axis may be smaller) that tile `shape`, in raster order."""
    starts = product(*(range(0, n, c) for n, c in zip(shape, core, strict=True)))
    return [
        Box((z, y, x), (min(core[0], shape[0] - z), min(core[1], shape[1] - y), min(core[2], shape[2] - x)))
        for z, y, x in starts
    ]


def core_shape(shape: Zyx, voxels: int, step: Zyx = (1, 1, 1)) -> Zyx:
    """Extent of blocks for `shape`: halved along the longest axis until it has at most `voxels` voxels, or is one step.

    A multiple of `step` along each axis, also where that reaches beyond the shape.
    """
    extent = [-(-n // s) * s for n, s in zip(shape, step, strict=True)]
    while math.prod(extent) > voxels and any(e > s for e, s in zip(extent, step, strict=True)):
        axis = max((k for k in range(3) if extent[k] > step[k]), key=lambda k: extent[k])
        extent[axis] = -(-extent[axis] // (2 * step[axis])) * step[axis]
    return (extent[0], extent[1], extent[2])


def with_halo(core: Box, halo: Zyx, shape: Zyx) -> tuple[Box, tuple[slice, slice, slice]]:
    """The box grown by `halo` on each side but not beyond `shape`, and where the core lies in it."""
    z, y, x = (max(0, a - h) for a, h in zip(core.start, halo, strict=True))
    d, e, f = (min(n, b + h) for b, h, n in zip(core.stop, halo, shape, strict=True))
    outer = Box((z, y, x), (d - z, e - y, f - x))
    return outer, Box((core.start[0] - z, core.start[1] - y, core.start[2] - x), core.shape).slices


class Checkpoints:
    """Results of blocks in a directory of their own; each is written once, atomically, and found again after a kill."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays saved under `name`, or None when there are none or they are damaged."""
        try:
            with np.load(self.directory / f"{name}.npz") as file:
                return dict(file)
        except (FileNotFoundError, EOFError, ValueError, OSError, zipfile.BadZipFile):
            return None

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep these arrays under `name`."""
        final = self.directory / f"{name}.npz"
        temporary = self.directory / f"{name}.partial"
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)

    def array(self, name: str, shape: Zyx, dtype: npt.DTypeLike) -> np.memmap[Any, Any]:
        """An array on disk of the size of the grid, made at the first call and opened again at later ones."""
        path = self.directory / f"{name}.npy"
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        temporary = self.directory / f"{name}.partial.npy"
        np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=shape).flush()
        os.replace(temporary, path)
        return np.lib.format.open_memmap(path, mode="r+")


def for_each(
    boxes: list[Box],
    work: Callable[[Box], Arrays],
    kept: Checkpoints,
    step: str,
    ctx: Context,
    span: tuple[float, float],
) -> list[dict[str, npt.NDArray[Any]]]:
    """Results of `work` for every block, in order; those that `kept` already holds are not computed again.

    Progress goes from span[0] to span[1]. Raises Preempted between two blocks when the stage is asked to stop.
    """
    results: list[dict[str, npt.NDArray[Any]]] = []
    for i, box in enumerate(boxes):
        name = f"{step}-{i:06d}"
        result = kept.load(name)
        if result is None:
            if ctx.should_stop():
                raise Preempted(f"pseudo-labels: stopped after block {i} of {len(boxes)} ({step})")
            result = dict(work(box))
            kept.save(name, result)
        results.append(result)
        ctx.progress(span[0] + (span[1] - span[0]) * (i + 1) / len(boxes), f"{step}: block {i + 1} of {len(boxes)}")
    return results
