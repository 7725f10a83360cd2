"""What a block alone can decide: components that end inside it are chosen there, and only the others have to be joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.pseudo.grid import Grid
from alcore.pseudo.tree import Criteria, Nodes, best_below, owners, worth
from alcore.types import Box


@dataclass(frozen=True)
class Settled:
    """A block: what is left of its tree, and the objects that were chosen among the components that end inside it.

    open: the components that reach a border of the block (row 0 is the background), with the best that is below them.
    An object j counts unless a component that contains it is chosen: `anchor[j]` is the innermost open one. Voxels of the
    block carry rows of `open`, or len(open.level) + j.
    """

    open: Nodes
    anchor: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    strength: npt.NDArray[np.float64]
    voxels: npt.NDArray[np.int64]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything by name, for a file."""
        objects = {name: getattr(self, name) for name in ("anchor", "first", "strength", "voxels")}
        return {**self.open.arrays(), **{f"object_{name}": values for name, values in objects.items()}}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Settled:
        """Inverse of `arrays`."""
        objects = {k.removeprefix("object_"): v for k, v in arrays.items() if k.startswith("object_")}
        return cls(open=Nodes(**{k: v for k, v in arrays.items() if not k.startswith("object_")}), **objects)


def settle(
    node: npt.NDArray[np.int32], table: Nodes, box: Box, grid: Grid, criteria: Criteria
) -> tuple[npt.NDArray[np.int32], Settled]:
    """Choose among the components of a block that do not reach its borders inside the volume.

    node (Z, Y, X): rows of `table` of the voxels of `box`. Returns the same in the numbering of `Settled`.
    """
    n = len(table.level)
    is_open = np.zeros(n, bool)
    is_open[0] = True
    for axis in range(3):
        for edge, inside in ((0, box.start[axis] > 0), (-1, box.stop[axis] < grid.shape[axis])):
            if inside:
                is_open[np.take(node, edge, axis)] = True
    for level in range(int(table.level.max(initial=0)), 0, -1):
        rows = np.flatnonzero(is_open & (table.level == level))
        is_open[table.parent[rows]] = True

    value, strength = worth(table, grid, criteria)
    best, taken = best_below(table, value, ~is_open)
    owner = owners(table, taken)
    chosen = np.flatnonzero((owner == np.arange(n)) & (owner > 0))
    left = np.flatnonzero(is_open)

    number = np.zeros(n, np.int32)
    number[left] = np.arange(len(left))
    anchor = number.copy()
    for level in range(1, int(table.level.max(initial=0)) + 1):
        rows = np.flatnonzero(~is_open & (table.level == level))
        anchor[rows] = anchor[table.parent[rows]]
    of_object = np.zeros(n, np.int32)
    of_object[chosen] = len(left) + np.arange(len(chosen))
    number = np.where(owner > 0, of_object[owner], anchor).astype(np.int32)

    columns = {name: values[left] for name, values in table.arrays().items()}
    columns["parent"] = anchor[columns["parent"]].astype(np.int64)
    columns["settled"] = best[left]
    remaining = Settled(
        Nodes(**columns), anchor[chosen].astype(np.int64), table.first[chosen], strength[chosen], table.voxels[chosen]
    )
    return number[node], remaining
