"""From a model to instances, of a patch in memory or of a volume of any size. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.arrays import block_bordercore
from alcore.arrays.block_bordercore import instances as border_core_instances
from alcore.arrays.block_components import BYTES_PER_VOXEL, BlockComponents
from alcore.arrays.blocking import Zyx, core_shape, layout
from alcore.arrays.diskgrid import DiskGrid
from alcore.arrays.instancing import connected_components
from alcore.errors import Preempted
from alcore.nnunet.prediction import ArrayVoxels, Predictor, Voxels
from alcore.nnunet.tile_sums import Logits, classes, foreground_logits
from alcore.stage import Context
from alcore.types import Box, IntensityStats, VoxelSize

BLOCK_SHARE = 0.25
"""Share of the memory of a stage for the block that is labelled."""
ROWS_BYTES = 16 << 20
"""Rows that are read and written at a time."""


def segment_patch(
    predictor: Predictor,
    image: npt.NDArray[np.generic],
    stats: Sequence[IntensityStats],
    voxel_um: VoxelSize | None,
    min_voxels: int | None,
) -> npt.NDArray[np.uint32]:
    """Instances (Z, Y, X) uint32 of an image (C, Z, Y, X) as acquired; stats: of the whole volume it was cut from.

    min_voxels: smaller objects are dropped; None = what the model was trained to expect.
    """
    design = predictor.design
    found = np.zeros(image.shape[1:], np.uint8)
    for box, logits in predictor.class_logits(ArrayVoxels(image), stats, voxel_um):
        found[box.slices] = classes(logits)
    least = design.min_voxels if min_voxels is None else min_voxels
    if design.border is None:
        return connected_components(found, least)
    return border_core_instances(found, least, design.least_core, design.border.in_plane)


class VolumeInstances:
    """Instances of a volume that need not fit into memory: 5 bytes of scratch per voxel (9 with borders), one block in memory.

    After `segment`: n_objects, foreground_voxels, `ids` of any box, and `rows` for a writer. mask: where the classes are kept
    (uint8, 0 = background), for a caller who wants to go on with them after a kill; it stays the caller's.
    """

    def __init__(self, folder: Path, shape: Zyx, ram_bytes: int, mask: DiskGrid | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("mask.raw", "ids.raw", "spare.raw"):  # of an attempt that was killed
            (folder / name).unlink(missing_ok=True)
        self.shape, self._budget = shape, int(BLOCK_SHARE * ram_bytes)
        self._own_mask = mask is None
        self._mask = mask or DiskGrid(folder / "mask.raw", shape, np.uint8)
        self._folder = folder
        self._ids = DiskGrid(folder / "ids.raw", shape, np.uint32)
        self._spare: DiskGrid | None = None
        self._final: Callable[[Box], npt.NDArray[np.uint32]] = lambda box: np.zeros(box.shape, np.uint32)
        self.n_objects = 0
        self.foreground_voxels = 0

    def segment(
        self,
        predictor: Predictor,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        min_voxels: int | None,
        ctx: Context,
        look: Callable[[Box, Logits], None] = lambda box, logits: None,
        begin: int = 0,
        finished: Callable[[int], None] = lambda steps: None,
    ) -> None:
        """Predict, then tell objects apart as the model was trained to. Raises Preempted between tiles and blocks when asked to stop.

        look: sees the logits (z, y, x) of the foreground of every box as they come; the boxes cover the volume once.
        begin, finished: see `Predictor.logits`; with begin the mask holds the classes that were found before.
        """
        reported = [-1]

        def report(share: float) -> None:
            if ctx.should_stop():
                raise Preempted("prediction stopped; run it again")
            percent = int(100 * share)
            if percent > reported[0]:
                reported[0] = percent
                ctx.progress(share, f"segmenting, {percent} %")

        for box, logits in predictor.class_logits(
            voxels, stats, voxel_um, lambda share: report(0.9 * share), begin, finished
        ):
            self._mask[box.slices] = classes(logits)
            look(box, foreground_logits(logits))
        least = predictor.design.min_voxels if min_voxels is None else min_voxels
        if predictor.design.border is None:
            self._components(least, report)
        else:
            self._border_core(least, predictor.design.least_core, predictor.design.border.in_plane, report)
        self._remove_mask()

    def _components(self, least: int, report: Callable[[float], None]) -> None:
        components = BlockComponents(self._ids, self.shape, least)
        boxes = layout(self.shape, core_shape(self.shape, max(1, self._budget // BYTES_PER_VOXEL)))
        for n, box in enumerate(boxes):
            report(0.9 + 0.05 * n / len(boxes))
            components.add(box, self._mask[box.slices])
        table = components.finish()
        self._final = lambda box: table[self._ids[box.slices]]
        self.n_objects, self.foreground_voxels = int(table.max()), components.foreground_voxels

    def _border_core(self, least: int, least_core: int, in_plane: bool, report: Callable[[float], None]) -> None:
        self._spare = DiskGrid(self._folder / "spare.raw", self.shape, np.uint32)
        voxels = max(1, self._budget // block_bordercore.BYTES_PER_VOXEL)
        around = (block_bordercore.STEPS,) * 3
        core = core_shape(
            self.shape, voxels, step=around, halo=around
        )  # smaller ones would be mostly their surroundings
        found = block_bordercore.BorderCoreInstances(
            self._mask, self._ids, self._spare, self.shape, core, least, least_core, in_plane
        )
        found.segment(lambda: report(0.9))
        self._final = found.final
        self.n_objects, self.foreground_voxels = found.n_objects, found.foreground_voxels

    def rows(self) -> Iterator[npt.NDArray[np.uint32]]:
        """Rows (n, X) of final ids 1..n, one after the other from the first plane to the last; a plane begins with new rows."""
        depth, height, width = self.shape
        n = max(1, min(height, ROWS_BYTES // (8 * width)))
        for z, y in product(range(depth), range(0, height, n)):
            yield self.ids(Box((z, y, 0), (1, min(n, height - y), width)))[0]

    def ids(self, box: Box) -> npt.NDArray[np.uint32]:
        """Final ids (z, y, x) of a box."""
        return self._final(box)

    def close(self) -> None:
        """Remove the scratch files."""
        self._remove_mask()
        self._ids.remove()
        if self._spare is not None:
            self._spare.remove()

    def _remove_mask(self) -> None:
        if self._own_mask:
            self._mask.remove()
