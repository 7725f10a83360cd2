"""Measures of every object of a segmentation that is too large for memory: block by block, equal to those of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.types import Box, VoxelSize

PROPERTIES = ("label", "num_pixels", "bbox", "centroid")
AXES = "zyx"


class ObjectTable:
    """What `skimage.measure.regionprops_table` says of each block, put together for objects that lie in several.

    Blocks cover the volume once, in any order. Memory: one block, and 8 * (11 + n_channels) bytes per object. Sums of whole
    numbers (sizes, coordinates) are exact whatever the blocks are; of intensities they are up to rounding.
    """

    def __init__(self, n_objects: int, n_channels: int) -> None:
        rows = n_objects + 1
        self._near = np.zeros(rows, np.int32)
        self._voxels = np.zeros(rows, np.int64)
        self._places = np.zeros((rows, 3), np.int64)
        self._low = np.full((rows, 3), np.iinfo(np.int64).max)
        self._high = np.zeros((rows, 3), np.int64)
        self._intensity = np.zeros((rows, n_channels))

    def add(self, box: Box, ids: npt.NDArray[np.integer[Any]], image: npt.NDArray[np.generic]) -> None:
        """Take a block into account. ids: (z, y, x), 0 = background; image: (C, z, y, x), as acquired."""
        from skimage.measure import regionprops_table

        self._near[ids] = 1
        self._near[0] = 0
        here = np.flatnonzero(self._near)
        if not here.size:
            return
        self._near[here] = np.arange(1, here.size + 1)  # skimage makes a list as long as the largest id
        near = self._near[ids]
        self._near[here] = 0
        channels = np.moveaxis(image, 0, -1)
        if channels.dtype.kind == "f":
            channels = channels.astype(np.float64)
        found = regionprops_table(near, channels, properties=(*PROPERTIES, "intensity_mean"))
        rows = here[found["label"] - 1]
        voxels = found["num_pixels"].astype(np.int64)
        self._voxels[rows] += voxels
        for axis, start in enumerate(box.start):
            self._places[rows, axis] += np.rint(found[f"centroid-{axis}"] * voxels).astype(np.int64) + start * voxels
            low, high = found[f"bbox-{axis}"] + start, found[f"bbox-{axis + 3}"] + start
            self._low[rows, axis] = np.minimum(self._low[rows, axis], low)
            self._high[rows, axis] = np.maximum(self._high[rows, axis], high)
        for channel in range(self._intensity.shape[1]):
            self._intensity[rows, channel] += found[f"intensity_mean-{channel}"] * voxels

    def columns(self, voxel_um: VoxelSize | None) -> dict[str, npt.NDArray[Any]]:
        """Name -> values (N,), row i for object i + 1.

        id; volume_um3, or volume_voxels where the voxel size is unknown; centroid_z_um, _y_um, _x_um (of voxel centres, the
        first of which lies at 0), or _px; bbox_z0, _y0, _x0, _z1, _y1, _x1 in voxels, the second three one past the end;
        mean_intensity, or mean_intensity_c0, _c1, ... of several channels, in units of the acquisition.
        """
        voxels = self._voxels[1:]
        found: dict[str, npt.NDArray[Any]] = {"id": np.arange(1, len(voxels) + 1)}
        um = np.array(voxel_um or (1.0, 1.0, 1.0))
        if voxel_um is None:
            found["volume_voxels"] = voxels
        else:
            found["volume_um3"] = voxels * um.prod()
        for axis, name in enumerate(AXES):
            middle = self._places[1:, axis] / np.maximum(voxels, 1) * um[axis]
            found[f"centroid_{name}_{'px' if voxel_um is None else 'um'}"] = middle
        for side, edges in ((0, self._low), (1, self._high)):
            found |= {f"bbox_{name}{side}": edges[1:, axis] for axis, name in enumerate(AXES)}
        means = self._intensity[1:] / np.maximum(voxels, 1)[:, None]
        several = means.shape[1] > 1
        return found | {f"mean_intensity{f'_c{c}' if several else ''}": means[:, c] for c in range(means.shape[1])}
