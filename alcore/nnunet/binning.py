"""Between the acquisition grid and the coarser grid a network works on: whole-number binning, local and exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from alcore.types import VoxelSize

Instances = npt.NDArray[np.integer[Any]]
Factors = tuple[int, int, int]
"""Acquisition voxels per network voxel along (z, y, x)."""

Scalar = TypeVar("Scalar", bound=np.generic)

TARGET_THICKNESS_PX = 7.0
"""A typical object stays at least this many binned voxels thick: enough for its shape at IoU 0.5 and well above."""
LEAST_WIDTH_PX = 24
"""Room for two poolings that leave a feature map 6 pixels wide."""
MAX_FACTOR = 8
MAX_CASES_LOOKED_AT = 64
"""Cases, evenly spread, that object sizes are measured on."""


def object_thickness_px(masks: Iterable[npt.NDArray[np.bool_]], every: int = 4) -> float | None:
    """Typical in-plane thickness, in voxels, of the foreground in masks (Z, Y, X); None without any foreground.

    The thickness of a cross-section is the diameter of its largest inscribed disc; the median is weighted by area, so
    that specks of noise do not count. Every `every`-th plane is looked at.
    """
    from scipy import ndimage

    thickness: list[float] = []
    area: list[float] = []
    for mask in masks:
        for plane in mask[:: max(1, min(every, len(mask) // 2))]:
            sections, n = ndimage.label(plane)
            if n:
                depth = ndimage.distance_transform_edt(plane)
                thickness += list(2 * ndimage.maximum(depth, sections, np.arange(1, n + 1)))
                area += list(np.bincount(sections.ravel())[1:])
    if not area:
        return None
    order = np.argsort(thickness)
    cumulated = np.cumsum(np.asarray(area)[order])
    return float(np.asarray(thickness)[order][np.searchsorted(cumulated, cumulated[-1] / 2)])


def choose(thickness_px: float, voxel_um: VoxelSize | None, in_plane_px: int) -> Factors:
    """In-plane binning for a small network, from the data: (1, f, f) with f a power of two.

    f grows while objects stay `TARGET_THICKNESS_PX` thick, the binned pixels stay no coarser than the distance of the
    planes (where the voxel size is known), and a training patch of `in_plane_px` keeps `LEAST_WIDTH_PX`.
    """
    z, y, x = voxel_um or (math.inf, 1.0, 1.0)
    factor = 1
    while (
        2 * factor <= MAX_FACTOR
        and thickness_px / (2 * factor) >= TARGET_THICKNESS_PX
        and max(y, x) * 2 * factor <= z
        and in_plane_px / (2 * factor) >= LEAST_WIDTH_PX
    ):
        factor *= 2
    return (1, factor, factor)


def binned_shape(shape: Sequence[int], factors: Factors) -> tuple[int, int, int]:
    """Shape of the binned grid: a last, incomplete bin counts."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factors, strict=True))
    return (z, y, x)


def _whole_bins(array: npt.NDArray[Scalar], factors: Factors) -> npt.NDArray[Scalar]:
    lead = array.ndim - 3
    pad = [(0, 0)] * lead + [(0, -n % f) for n, f in zip(array.shape[lead:], factors, strict=True)]
    return np.pad(array, pad, mode="edge") if any(p for _, p in pad) else array


def bin_image(image: npt.NDArray[np.float32], factors: Factors) -> npt.NDArray[np.float32]:
    """Mean over bins of an image (C, Z, Y, X) float32; incomplete bins repeat the edge."""
    if factors == (1, 1, 1):
        return image
    whole = _whole_bins(image, factors)
    (c, *shape), (a, b, d) = whole.shape, factors
    z, y, x = (n // f for n, f in zip(shape, factors, strict=True))
    mean: npt.NDArray[np.float32] = whole.reshape(c, z, a, y, b, x, d).mean(axis=(2, 4, 6), dtype=np.float32)
    return mean


def bin_instances(instances: Instances, factors: Factors) -> npt.NDArray[np.uint32]:
    """Instances (Z, Y, X) on the binned grid: background, or its largest id where half of a bin is foreground."""
    if factors == (1, 1, 1):
        return instances.astype(np.uint32)
    whole = _whole_bins(instances, factors)
    a, b, d = factors
    z, y, x = (n // f for n, f in zip(whole.shape, factors, strict=True))
    bins = whole.reshape(z, a, y, b, x, d)
    foreground = np.count_nonzero(bins, axis=(1, 3, 5)) * 2 >= a * b * d
    ids: npt.NDArray[np.uint32] = np.where(foreground, bins.max(axis=(1, 3, 5)), 0).astype(np.uint32)
    return ids


def bin_seen(seen: npt.NDArray[np.bool_], factors: Factors) -> npt.NDArray[np.bool_]:
    """Which binned voxels (Z, Y, X) were looked at, of a mask (Z, Y, X): those of which every voxel was."""
    if factors == (1, 1, 1):
        return seen
    whole = _whole_bins(seen, factors)
    a, b, d = factors
    z, y, x = (n // f for n, f in zip(whole.shape, factors, strict=True))
    return np.asarray(whole.reshape(z, a, y, b, x, d).all(axis=(1, 3, 5)))


def separated_foreground(instances: Instances) -> npt.NDArray[np.uint8]:
    """Semantic target (Z, Y, X) uint8 of instances: foreground 1, with a background gap where two instances touch.

    The gap is in the plane only (planes are far apart); it is what lets connected components tell neighbours apart.
    """
    foreground = instances > 0
    for axis in (1, 2):
        first, second = _pair(axis, 0), _pair(axis, 1)
        touching = (instances[first] != instances[second]) & (instances[first] > 0) & (instances[second] > 0)
        foreground[first] &= ~touching
        foreground[second] &= ~touching
    return foreground.astype(np.uint8)


def _pair(axis: int, side: int) -> tuple[slice, slice, slice]:
    index = [slice(None)] * 3
    index[axis] = slice(1, None) if side else slice(None, -1)
    return (index[0], index[1], index[2])


def upsample(values: npt.NDArray[np.float32], factors: Factors) -> npt.NDArray[np.float32]:
    """Linear interpolation of (Z, Y, X) float32 from bin centres back to the fine grid; edges repeat.

    Each fine voxel depends on the two nearest bins per axis only, so that a part with a margin of one bin gives the
    same values as the whole.
    """
    for axis, factor in enumerate(factors):
        if factor > 1:
            n = values.shape[axis]
            position = (np.arange(n * factor) + 0.5) / factor - 0.5
            below = np.floor(position).astype(int)
            weight_shape = [1, 1, 1]
            weight_shape[axis] = -1
            weight = (position - below).astype(np.float32).reshape(weight_shape)
            low = np.take(values, below.clip(0, n - 1), axis=axis)
            high = np.take(values, (below + 1).clip(0, n - 1), axis=axis)
            values = low + (high - low) * weight
    return values
