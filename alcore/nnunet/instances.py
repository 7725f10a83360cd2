"""From a model to instances, of a patch in memory or of a volume of any size. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.arrays.instancing import SlabComponents, connected_components
from alcore.errors import Preempted
from alcore.nnunet.prediction import ArrayVoxels, Predictor, Voxels
from alcore.stage import Context
from alcore.types import IntensityStats, VoxelSize

SLAB_VOXELS = 1 << 26
"""Voxels that are labelled at a time."""


def segment_patch(
    predictor: Predictor,
    image: npt.NDArray[np.generic],
    stats: Sequence[IntensityStats],
    voxel_um: VoxelSize | None,
    min_voxels: int | None,
) -> npt.NDArray[np.uint32]:
    """Instances (Z, Y, X) uint32 of an image (C, Z, Y, X) as acquired; stats: of the whole volume it was cut from.

    min_voxels: smaller components are dropped; None = what the model was trained to expect.
    """
    mask = np.zeros(image.shape[1:], bool)
    for box, part in predictor.foreground(ArrayVoxels(image), stats, voxel_um):
        mask[box.slices] = part
    return connected_components(mask, predictor.design.min_voxels if min_voxels is None else min_voxels)


class VolumeInstances:
    """Instances of a volume that need not fit into memory: 5 bytes of scratch per voxel, one slab in memory.

    After `segment`: n_objects, foreground_voxels, and `planes` for a writer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.n_objects = 0
        self.foreground_voxels = 0
        self._ids: npt.NDArray[np.uint32] = np.zeros((0, 0, 0), np.uint32)
        self._table: npt.NDArray[np.uint32] = np.zeros(1, np.uint32)

    def segment(
        self,
        predictor: Predictor,
        voxels: Voxels,
        stats: Sequence[IntensityStats],
        voxel_um: VoxelSize | None,
        min_voxels: int | None,
        ctx: Context,
    ) -> None:
        """Predict, then label by 6-connectivity. Raises Preempted between tiles when asked to stop."""
        shape = voxels.shape[1:]
        mask = np.memmap(self._folder / "mask.raw", np.uint8, "w+", shape=shape)

        reported = [-1]

        def report(share: float) -> None:
            if ctx.should_stop():
                raise Preempted("prediction stopped; run it again")
            percent = int(100 * share)
            if percent > reported[0]:
                reported[0] = percent
                ctx.progress(0.9 * share, f"segmenting, {percent} %")

        for box, part in predictor.foreground(voxels, stats, voxel_um, report):
            mask[box.slices] = part
        ctx.progress(0.9, "finding instances")
        self._ids = np.memmap(self._folder / "ids.raw", np.uint32, "w+", shape=shape)
        components = SlabComponents()
        depth = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
        for z in range(0, shape[0], depth):
            self._ids[z : z + depth] = components.add(mask[z : z + depth])
        self._table = components.finish(predictor.design.min_voxels if min_voxels is None else min_voxels)
        self.n_objects = int(self._table.max())
        counts = np.zeros(len(self._table), np.int64)
        for plane in self._ids:
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        self.foreground_voxels = int(counts[self._table > 0].sum())
        del mask
        (self._folder / "mask.raw").unlink()

    def planes(self) -> Iterator[npt.NDArray[np.uint32]]:
        """Planes (Y, X) of final ids 1..n, from the first to the last."""
        for plane in self._ids:
            yield self._table[plane]

    def close(self) -> None:
        """Remove the scratch files."""
        self._ids = np.zeros((0, 0, 0), np.uint32)
        for name in ("mask.raw", "ids.raw"):
            (self._folder / name).unlink(missing_ok=True)
