"""Instances from core and border classes of a volume that is too large for memory: block by block, as those of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alcore.arrays.block_components import BYTES_PER_VOXEL as COMPONENTS_BYTES
from alcore.arrays.block_components import BlockComponents, IdStore
from alcore.arrays.blocking import Zyx, layout, with_halo
from alcore.arrays.bordercore import CORE
from alcore.arrays.growing import grow
from alcore.types import Box

STEPS = 16
"""Voxels that objects grow in one pass over the volume; what a block has to see around it."""
BYTES_PER_VOXEL = max(COMPONENTS_BYTES, 40)
"""Memory per voxel of a block with the `STEPS` voxels around it."""


class Classes(Protocol):
    """Where the class (Z, Y, X) of every voxel is read: 0 background, `CORE`, anything else border."""

    def __getitem__(self, index: Any) -> Any:
        """The classes of a box."""


class BorderCoreInstances:
    """Instances (Z, Y, X) from classes: every core (6-connected) is an object and grows into the border that it reaches.

    All cores grow at the same pace until nothing is left that they reach, with `in_plane` first within their planes, which
    are far apart, and then into neighbouring ones. Cores of fewer than `least_core` voxels count as border. Foreground
    that no core reaches is made of objects without a core, one for each 6-connected component. Objects of fewer than
    `min_voxels` voxels are dropped. Ids are 1..n: objects with a core in raster order of its first voxel, then the others.

    ids, spare: zeroed stores of uint32, as large as the volume. core: extent of the blocks. After `segment` the final id of a
    voxel is `final(box)`; n_objects and foreground_voxels say how many there are. The result does not depend on the blocks.
    """

    def __init__(
        self,
        classes: Classes,
        ids: IdStore,
        spare: IdStore,
        shape: Zyx,
        core: Zyx,
        min_voxels: int = 0,
        least_core: int = 0,
        in_plane: bool = False,
    ) -> None:
        self._classes, self._ids, self._spare, self._shape = classes, ids, spare, shape
        self._boxes: Sequence[Box] = layout(shape, core)
        self._least, self._least_core, self._in_plane = max(min_voxels, 1), least_core, in_plane
        self._table = self._others = np.zeros(1, np.uint32)
        self.n_objects = 0
        self.foreground_voxels = 0

    def segment(self, tick: Callable[[], None] = lambda: None) -> None:
        """Find the instances. tick: called before every block; may raise."""
        cores = BlockComponents(self._ids, self._shape, self._least_core)
        for box in self._boxes:
            tick()
            cores.add(box, self._classes[box.slices] == CORE)
        table = cores.finish()
        for box in self._boxes:
            tick()
            self._ids[box.slices] = table[self._ids[box.slices]]
        for in_plane in (True, False) if self._in_plane else (False,):
            while self._pass(in_plane, tick):
                pass
        self._conclude(int(table.max()), tick)

    def _pass(self, in_plane: bool, tick: Callable[[], None]) -> bool:
        """Grow by `STEPS` voxels, from `ids` to `spare`, which then change places. Did anything change?"""
        changed = False
        halo = (0 if in_plane else STEPS, STEPS, STEPS)
        for box in self._boxes:
            tick()
            outer, inner = with_halo(box, halo, self._shape)
            before = self._ids[box.slices]
            ids = np.array(self._ids[outer.slices])
            if grow(ids, self._classes[outer.slices] != 0, STEPS, in_plane):
                changed = changed or bool((ids[inner] != before).any())
            self._spare[box.slices] = ids[inner]
        self._ids, self._spare = self._spare, self._ids
        return changed

    def _conclude(self, n_cores: int, tick: Callable[[], None]) -> None:
        """Number the objects, and find those without a core."""
        for box in self._boxes:
            self._spare[box.slices] = 0
        sizes = np.zeros(n_cores + 1, np.int64)
        others = BlockComponents(self._spare, self._shape, self._least)
        for box in self._boxes:
            tick()
            ids = self._ids[box.slices]
            sizes += np.bincount(ids.ravel(), minlength=n_cores + 1)
            others.add(box, (self._classes[box.slices] != 0) & (ids == 0))
        kept = sizes >= self._least
        kept[0] = False
        n = int(kept.sum())
        self._table = np.zeros(n_cores + 1, np.uint32)
        self._table[kept] = np.arange(1, n + 1)
        table = others.finish()
        self._others = np.where(table > 0, table + n, 0).astype(np.uint32)
        self.n_objects = n + int(table.max())
        self.foreground_voxels = int(sizes[kept].sum()) + others.foreground_voxels

    def final(self, box: Box) -> npt.NDArray[np.uint32]:
        """Final ids (z, y, x) of a box; no voxel is in both stores."""
        found: npt.NDArray[np.uint32] = self._table[self._ids[box.slices]] + self._others[self._spare[box.slices]]
        return found


def instances(
    classes: npt.NDArray[np.uint8], min_voxels: int = 0, least_core: int = 0, in_plane: bool = False
) -> npt.NDArray[np.uint32]:
    """Instances (Z, Y, X) uint32 of classes (Z, Y, X) that fit into memory: see `BorderCoreInstances`."""
    z, y, x = classes.shape
    stores = (np.zeros(classes.shape, np.uint32), np.zeros(classes.shape, np.uint32))
    found = BorderCoreInstances(classes, *stores, (z, y, x), (z, y, x), min_voxels, least_core, in_plane)
    found.segment()
    return found.final(Box((0, 0, 0), (z, y, x)))
