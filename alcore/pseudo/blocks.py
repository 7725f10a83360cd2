"""Work on a grid that is too large for memory block by block; the result of each block survives a kill."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import Zyx
from alcore.arrays.diskgrid import DiskGrid
from alcore.errors import Preempted
from alcore.stage import Context
from alcore.types import Box

Arrays = Mapping[str, npt.NDArray[Any]]


class Checkpoints:
    """Results of blocks in a directory of their own; each is written once, atomically, and found again after a kill."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._grids: list[DiskGrid] = []
        directory.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays saved under `name`, or None when there are none or they are damaged."""
        try:
            with np.load(self.directory / f"{name}.npz") as file:
                return dict(file)
        except (FileNotFoundError, EOFError, ValueError, OSError, zipfile.BadZipFile):
            return None

    def save(self, name: str, arrays: Arrays, packed: bool = False) -> None:
        """Keep these arrays under `name`; packed: compressed, which pays for ids."""
        final = self.directory / f"{name}.npz"
        temporary = self.directory / f"{name}.partial"
        with open(temporary, "wb") as file:
            (np.savez_compressed if packed else np.savez)(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)

    def grid(self, name: str, shape: Zyx, dtype: npt.DTypeLike) -> DiskGrid:
        """An array on disk, made at the first call and found again at later ones, until `close`."""
        made = DiskGrid(self.directory / f"{name}.raw", shape, dtype)
        self._grids.append(made)
        return made

    def close(self) -> None:
        """Release the files of the arrays."""
        while self._grids:
            self._grids.pop().close()


def for_each(
    boxes: list[Box],
    work: Callable[[Box], Arrays],
    kept: Checkpoints,
    step: str,
    ctx: Context,
    span: tuple[float, float],
    packed: bool = False,
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield the result of `work` for every block, in order; those that `kept` already holds are not computed again.

    Progress goes from span[0] to span[1]. Raises Preempted between two blocks when the stage is asked to stop.
    """
    for i, box in enumerate(boxes):
        name = f"{step}-{i:06d}"
        result = kept.load(name)
        if result is None:
            if ctx.should_stop():
                raise Preempted(f"pseudo-labels: stopped after block {i} of {len(boxes)} ({step})")
            result = dict(work(box))
            kept.save(name, result, packed)
        yield result
        ctx.progress(span[0] + (span[1] - span[0]) * (i + 1) / len(boxes), f"{step}: block {i + 1} of {len(boxes)}")
