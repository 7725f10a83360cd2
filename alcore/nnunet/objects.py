"""objects.csv: a line for every object of a segmentation, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import Zyx, core_shape, layout
from alcore.arrays.object_table import ObjectTable
from alcore.nnunet.prediction import Voxels
from alcore.types import Box, VoxelSize

BYTES_PER_VOXEL = 64
"""Memory that a voxel of a block takes while it is measured: its ids, its channels, and what scikit-image makes of them."""
BLOCK_SHARE = 0.25
"""Share of the memory of a stage for one block."""
DIGITS = 10
"""Significant digits of numbers that are not whole."""
ROWS = 4096
"""Lines written at a time."""


def measure(
    ids: Callable[[Box], npt.NDArray[np.uint32]],
    n_objects: int,
    voxels: Voxels,
    ram_bytes: int,
    report: Callable[[float], None] = lambda share: None,
) -> ObjectTable:
    """The table of objects 1..n_objects, whose `ids` are given for any box; `voxels` is read once."""
    c, *zyx = voxels.shape
    shape: Zyx = (zyx[0], zyx[1], zyx[2])
    table = ObjectTable(n_objects, c)
    if not n_objects:
        return table
    core = core_shape(shape, max(1, int(BLOCK_SHARE * ram_bytes) // (BYTES_PER_VOXEL + 16 * c)))
    boxes = layout(shape, core)
    for n, box in enumerate(boxes):
        report(n / len(boxes))
        here = ids(box)
        if here.any():
            table.add(box, here, voxels.read(box))
    return table


def write_objects(path: Path, table: ObjectTable, voxel_um: VoxelSize | None, model: str) -> None:
    """Write the columns of `table` (see `ObjectTable.columns`), and the model in each line; RFC 4180 with LF, a header line.

    An intensity that is no number (the acquisition has such voxels) is left empty.
    """
    columns = table.columns(voxel_um)
    n = len(columns["id"])
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow([*columns, "model"])
        for first in range(0, n, ROWS):
            part = [_text(values[first : first + ROWS]) for values in columns.values()]
            out.writerows((*row, model) for row in zip(*part, strict=True))


def _text(values: npt.NDArray[Any]) -> list[str]:
    if values.dtype.kind in "iu":
        return [str(v) for v in values.tolist()]
    return [f"{v:.{DIGITS}g}" if math.isfinite(v) else "" for v in values.tolist()]
