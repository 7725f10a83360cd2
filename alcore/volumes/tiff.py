"""TIFF as Volumes: plain stacks, ImageJ, OME in one file or several, BigTIFF; any compression tifffile knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alcore.errors import UnreadableVolumeError
from alcore.types import Box, VoxelSize
from alcore.volumes import tiff_calibration
from alcore.volumes.colour import RGB_NAMES, alpha_note, colour_rule, luminance
from alcore.volumes.port import (
    MOST_PARTS,
    REAL_DTYPES,
    Array,
    Part,
    ReadOptions,
    Scene,
    VolumeReader,
    chosen_channels,
    chosen_of,
    enumerate_parts,
)
from alcore.volumes.tiff_axes import PlaneOrder, plane_order
from alcore.volumes.tiff_planes import TiffPlanes
from alcore.volumes.tiff_set import TiffSet, open_planes

JPEG = (6, 7)
GREY = ("MINISBLACK", "MINISWHITE", "PALETTE")


class TiffImage:
    """One image (scene) of a file or set: its time points, channels by name, slices, and how to read a plane.

    colour: "" for grey values, else the rule for its samples ("luminance" or "channels").
    """

    def __init__(self, path: Path, scene: int, options: ReadOptions) -> None:
        self.path = path
        self._planes = open_planes(path, scene)
        self.n_scenes = self._planes.n_scenes
        try:
            self._interpret(options)
        except BaseException:
            self.close()
            raise

    def _interpret(self, options: ReadOptions) -> None:
        planes = self._planes
        self.dtype = np.dtype(np.float32) if planes.dtype == np.float16 else planes.dtype
        self.height, self.width, self.nbytes = planes.height, planes.width, planes.nbytes
        self.colour, notes = _pixels(self.path, planes, options)
        self._order = order = plane_order(self.path, planes.axes, planes.shape, options)
        self.n_times, self.n_slices = order.n_times, order.n_slices
        self.voxel_um, more = self.calibration(self.n_slices)
        notes += more
        if isinstance(planes, TiffSet):
            self.name, told = planes.ome.name, planes.ome.channels
        else:
            self.name, told = planes.name, _imagej_channels(planes, order)
        names = told if len(told) == order.n_channels else ("",) * order.n_channels
        self.samples = planes.samples - planes.n_alpha if self.colour == "channels" else 1
        if self.samples > 1 and len(names) > 1:
            raise UnreadableVolumeError(
                f"{self.path}: {len(names)} channels of {planes.samples} samples each are not understood"
            )
        if self.samples > 1:
            colours = planes.photometric not in GREY
            self.samples = 3 if colours else planes.samples - planes.n_alpha
            names = RGB_NAMES if colours else ("",) * self.samples
        self.channels, self.notes = tuple(names), notes

    def calibration(self, n_slices: int) -> tuple[VoxelSize | None, tuple[str, ...]]:
        """(z, y, x) um of a stack of `n_slices` such slices, None when the file does not state it, and notes."""
        planes = self._planes
        if isinstance(planes, TiffSet):
            return tiff_calibration.from_ome(planes.ome.pixels, n_slices), ()
        if planes.imagej is None:
            return None, ()
        return tiff_calibration.from_imagej(planes.imagej, planes.resolution_xy, n_slices)

    def read(self, time: int, channel: int, z: int, rows: slice, columns: slice, out: Array) -> None:
        """Part of one plane into `out` (rows, columns) of `dtype`."""
        if self.samples > 1:
            self._sample(time, 0, z, rows, columns, out, channel)
        elif self.colour:
            rgb = np.empty((3, *out.shape), self.dtype)
            for sample in range(3):
                self._sample(time, channel, z, rows, columns, rgb[sample], sample)
            out[...] = luminance(rgb)
        else:
            self._sample(time, channel, z, rows, columns, out, 0)

    def _sample(self, time: int, channel: int, z: int, rows: slice, columns: slice, out: Array, sample: int) -> None:
        self._planes.read(self._order.plane(time, channel, z), rows, columns, out, sample)

    def check(self) -> None:
        """Raise unless every file of a set has what is asked of it; a single file has proved it by opening."""
        if isinstance(self._planes, TiffSet):
            self._planes.check()

    def close(self) -> None:
        """Release the files. Closing twice is harmless."""
        self._planes.close()


class TiffReader(VolumeReader):
    """Reads boxes of a TIFF: uncompressed rows directly, compressed strips and tiles through a small cache."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self._image = image = TiffImage(path, options.scene or 0, options)
        try:
            chosen_of(path, "scene", options.scene, image.n_scenes)
            self._time = chosen_of(path, "time", options.time, image.n_times)
            self._channels = chosen_channels(path, image.channels, options)
        except BaseException:
            self.close()
            raise
        self.shape = (len(self._channels), image.n_slices, image.height, image.width)
        self.dtype = image.dtype
        self.voxel_um = image.voxel_um
        self.notes = tuple(image.notes)

    def _read(self, box: Box) -> Array:
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        out = np.empty((len(self._channels), *box.shape), self.dtype)
        for z in range(z0, z1):
            for index, channel in enumerate(self._channels):
                self._image.read(self._time, channel, z, slice(y0, y1), slice(x0, x1), out[index, z - z0])
        return out

    def close(self) -> None:
        self._image.close()


def tiff_images(path: Path, options: ReadOptions) -> Iterator[TiffImage]:
    """Every image of a file or set, each open until the next is asked for."""
    scene, n_scenes = 0, 1
    while scene < n_scenes:
        image = TiffImage(path, scene, options)
        try:
            n_scenes = image.n_scenes
            if n_scenes > MOST_PARTS:
                raise UnreadableVolumeError(f"{path}: claims to hold more than {MOST_PARTS} volumes")
            yield image
        finally:
            image.close()
        scene += 1


def tiff_parts(path: Path, options: ReadOptions) -> list[Part]:
    """Every scene, time point and channel. Raises PartOfSetError, UnreadableVolumeError with the question to answer."""
    scenes = [Scene(image.name, image.n_times, image.channels) for image in tiff_images(path, options)]
    return enumerate_parts(path, scenes, options)


def _pixels(path: Path, planes: TiffPlanes | TiffSet, options: ReadOptions) -> tuple[str, tuple[str, ...]]:
    """(rule for colour samples, notes); refuses pixels that are no intensities."""
    if planes.dtype.name not in (*REAL_DTYPES, "float16"):
        kind = "1-bit masks" if planes.dtype == np.bool_ else f"{planes.dtype} values"
        raise UnreadableVolumeError(f"{path}: {kind} are not supported; save it as one of {', '.join(REAL_DTYPES)}")
    imagej = isinstance(planes, TiffPlanes) and planes.is_imagej
    if planes.photometric == "PALETTE" and not imagej:
        raise UnreadableVolumeError(
            f"{path}: a palette image, its pixels are colour numbers, no intensities; save it as grey values"
        )
    if planes.photometric in GREY:
        white = planes.photometric == "MINISWHITE"
        swapped: tuple[str, ...] = (
            "stored with 0 as white: the values are used as they are stored, so bright and dark are swapped",
        )
        several = planes.samples - planes.n_alpha > 1
        return ("channels" if several else ""), (swapped if white else ()) + alpha_note(planes.n_alpha)
    if planes.samples < 3 or not (
        planes.photometric == "RGB" or (planes.photometric == "YCBCR" and planes.compression in JPEG)
    ):
        raise UnreadableVolumeError(
            f"{path}: pixels of kind {planes.photometric} are no intensities; save it as grey values"
        )
    rule, notes = colour_rule(path, options)
    return rule, notes + alpha_note(planes.samples - 3)


def _imagej_channels(planes: TiffPlanes, order: PlaneOrder) -> tuple[str, ...]:
    """Channel names from ImageJ's slice labels, where every plane of a channel has one and the same."""
    labels = (planes.imagej or {}).get("Labels")
    if not isinstance(labels, list) or len(labels) != planes.n_planes or order.n_channels == 1:
        return ()
    names = []
    for channel in range(order.n_channels):
        told = {str(labels[order.plane(t, channel, z)]) for t in range(order.n_times) for z in range(order.n_slices)}
        names.append(told.pop() if len(told) == 1 else "")
    return tuple(names) if all(names) and len(set(names)) == len(names) else ()
