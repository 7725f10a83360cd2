"""TIFF as a Volume: plain stacks, ImageJ, OME (one file), BigTIFF; any compression tifffile knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box
from alcore.volumes import tiff_axes, tiff_calibration
from alcore.volumes.port import REAL_DTYPES, Array, ReadOptions, VolumeReader
from alcore.volumes.tiff_planes import TiffPlanes


class TiffReader(VolumeReader):
    """Reads boxes of a TIFF: uncompressed rows directly, compressed strips and tiles through a small cache."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self._planes = TiffPlanes(path)
        try:
            self._interpret(options)
        except BaseException:
            self.close()
            raise

    def _interpret(self, options: ReadOptions) -> None:
        planes = self._planes
        order = tiff_axes.plane_order(self.path, planes.axes, planes.shape, options)
        notes = [*order.notes, *_pixel_notes(planes)]
        self._order = order
        self._channels = tiff_axes.chosen_channels(self.path, order.n_channels, options)
        self.shape = (len(self._channels), order.n_slices, planes.height, planes.width)
        self.dtype = planes.dtype
        self.voxel_um = None
        if planes.ome_pixels is not None:
            self.voxel_um = tiff_calibration.from_ome(planes.ome_pixels, order.n_slices)
        elif planes.imagej is not None:
            self.voxel_um, more = tiff_calibration.from_imagej(planes.imagej, planes.resolution_xy, order.n_slices)
            notes += more
        self.notes = tuple(notes)

    def _read(self, box: Box) -> Array:
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        out = np.empty((len(self._channels), *box.shape), self.dtype)
        for z in range(z0, z1):
            for index, channel in enumerate(self._channels):
                plane = channel * self._order.c_stride + z * self._order.z_stride
                self._planes.read(plane, slice(y0, y1), slice(x0, x1), out[index, z - z0])
        return out

    def close(self) -> None:
        self._planes.close()


def _pixel_notes(planes: TiffPlanes) -> list[str]:
    """Refuse pixels that are no intensities; note those that are unusual."""
    if planes.dtype.name not in REAL_DTYPES:
        kind = "1-bit masks" if planes.dtype == np.bool_ else f"{planes.dtype} values"
        raise UnreadableVolumeError(
            f"{planes.path}: {kind} are not supported; save it as one of {', '.join(REAL_DTYPES)}"
        )
    if planes.photometric == "PALETTE" and not planes.is_imagej:
        raise UnreadableVolumeError(
            f"{planes.path}: a palette image, its pixels are colour numbers, no intensities; save it as grey values"
        )
    if planes.photometric == "MINISWHITE":
        return ["stored with 0 as white: the values are used as they are stored, so bright and dark are swapped"]
    if planes.photometric not in ("MINISBLACK", "PALETTE"):
        raise UnreadableVolumeError(
            f"{planes.path}: pixels of kind {planes.photometric} are no intensities; save it as grey values"
        )
    return []
