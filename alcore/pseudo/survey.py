"""Look at a few crops of a volume to infer what its objects are: bright or dark, how thick at least, in which channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.blocking import core_shape
from alcore.errors import Preempted
from alcore.pseudo.background import Background, normalise
from alcore.pseudo.grid import Float, Grid, averaged, cell_sums
from alcore.pseudo.tree import Criteria, block_nodes, opened_levels, select
from alcore.stage import Context
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader

CROP = (48, 128, 128)
"""Crop (z, y, x) in working voxels, whatever the object radius: it shows about as many objects at every radius."""
CROPS = (1, 2, 2)
"""Crops along each axis, at most: centres of equal parts of the volume."""
CROP_VOXELS = 1 << 25
"""No crop is larger than this many voxels of the volume."""
SMALLEST_PX, STEP, LARGEST_PX, LARGEST_SHARE = 2.5, 2**0.5, 40.0, 1 / 6
"""Radii that are tried, in in-plane voxels: from, factor, up to; and up to this share of the shorter in-plane edge."""
LOWEST, HIGHEST = 40.0, 99.8
"""Percentiles of the smoothed contrast between which the thresholds lie."""
ENOUGH = 0.8
"""The smallest radius with this share of the best gain is taken: thick objects survive it, thin ones survive no larger one."""
TAIL = 0.3
"""Quantile skewness above which intensities have a bright tail: fluorescent objects on a dark ground. Electron microscopy,
bright field and membrane stains have none, and their objects are dark."""
AGAINST_TAIL = 0.25
"""Weight of the gain of objects whose polarity the tail speaks against: they must explain four times as much."""
MIN_GAIN = 1e-4
"""Gain below which a volume holds no objects."""


@dataclass(frozen=True)
class Finding:
    """What the objects of a volume look like. radius in the unit of spacing.

    gain: border area (volume to the power 2/3, in voxels) of all objects times their strength, per voxel of the volume:
    how much outline this explanation accounts for. Volume itself would favour a few huge regions, number would favour noise.
    """

    channel: int
    polarity: int
    radius: float
    thresholds: tuple[float, ...]
    gain: float


@dataclass(frozen=True)
class Wanted:
    """What the person has set; None = infer. polarity 1 = bright objects, -1 = dark. radius in the unit of spacing."""

    channel: int | None
    polarity: int | None
    radius: float | None
    min_radius_um: float
    max_radius_um: float
    n_thresholds: int


def radii(info: VolumeInfo, wanted: Wanted) -> tuple[list[float], list[str]]:
    """Object radii to try, in the unit of spacing, and what there is to say about them."""
    if wanted.radius is not None:
        return [wanted.radius], []
    in_plane = min(info.spacing[1:])
    shorter = min(info.zyx[1] * info.spacing[1], info.zyx[2] * info.spacing[2])
    tried, radius = [], SMALLEST_PX * in_plane
    largest = max(min(shorter * LARGEST_SHARE, LARGEST_PX * in_plane), SMALLEST_PX * in_plane)
    while radius <= largest * (1 + 1e-6):
        tried.append(radius)
        radius *= STEP
    if info.voxel_um is None:
        return tried, [
            "the voxel size is unknown: object sizes come from the data alone and voxels count as cubes; set it for better pseudo-labels"
        ]
    sensible = [r for r in tried if wanted.min_radius_um <= r <= wanted.max_radius_um]
    if sensible:
        return sensible, []
    return tried, [
        f"no object between min_diameter_um and max_diameter_um fits a voxel of {info.voxel_um} um: limits ignored"
    ]


def survey(
    volume: VolumeReader,
    info: VolumeInfo,
    wanted: Wanted,
    criteria: Criteria,
    read_voxels: int,
    ctx: Context,
    span: float,
) -> tuple[Finding | None, list[str]]:
    """The best explanation of the volume by compact objects, or None where nothing stands out, and notes.

    read_voxels: voxels of the volume that are in memory at a time.
    """
    channels = range(info.shape[0]) if wanted.channel is None else [wanted.channel]
    tried, notes = radii(info, wanted)
    findings: list[Finding] = []
    for i, (channel, radius) in enumerate(product(channels, tried)):
        if ctx.should_stop():
            raise Preempted("pseudo-labels: stopped while looking for the size of the objects")
        if info.stats[channel].std > 0:
            findings += _at_radius(volume, info, channel, radius, wanted, criteria, read_voxels)
        ctx.progress(span * (i + 1) / (len(channels) * len(tried)), f"looking for objects {2 * radius:.3g} thick")
    best = max(findings, key=lambda f: f.gain, default=None)
    if best is None or best.gain < MIN_GAIN:
        return None, notes
    alike = [f for f in findings if (f.channel, f.polarity) == (best.channel, best.polarity)]
    return min((f for f in alike if f.gain >= ENOUGH * best.gain), key=lambda f: f.radius), notes


def _at_radius(
    volume: VolumeReader,
    info: VolumeInfo,
    channel: int,
    radius: float,
    wanted: Wanted,
    criteria: Criteria,
    read_voxels: int,
) -> list[Finding]:
    """Findings for one radius, one for each polarity."""
    grid = Grid.of(info.zyx, info.spacing, radius)
    crops = [_crop(volume, channel, grid, box, read_voxels) for box in _boxes(grid)]
    low, median, high = np.percentile(np.concatenate([sharp.ravel() for sharp, _, _ in crops]), [1, 50, 99])
    expected = 1 if (high - median) - (median - low) > TAIL * (high - low) else -1
    found = []
    for polarity in (1, -1) if wanted.polarity is None else (wanted.polarity,):
        thresholds = spread([polarity * smoothed for _, smoothed, _ in crops], wanted.n_thresholds)
        gains = [_gain(polarity * s, polarity * b, g, thresholds, criteria) for s, b, g in crops]
        weight = 1.0 if polarity == expected else AGAINST_TAIL
        found.append(Finding(channel, polarity, radius, thresholds, weight * float(np.mean(gains))))
    return found


def spread(smoothed: list[Float], n: int) -> tuple[float, ...]:
    """n equidistant thresholds for the smoothed contrast of the objects."""
    low, high = np.percentile(np.concatenate([s.ravel() for s in smoothed]), [LOWEST, HIGHEST])
    return tuple(float(t) for t in np.linspace(low, high, n, endpoint=False))


def quantise(smoothed: Float, thresholds: tuple[float, ...]) -> npt.NDArray[np.uint8]:
    """Number of thresholds that each voxel exceeds."""
    return (
        np.searchsorted(np.asarray(thresholds, np.float32), smoothed.ravel()).astype(np.uint8).reshape(smoothed.shape)
    )


def _boxes(grid: Grid) -> list[Box]:
    """Crops in working voxels, which do not overlap."""
    spans: list[list[tuple[int, int]]] = []
    z, y, x = (min(n, c) for n, c in zip(grid.shape, CROP, strict=True))
    wanted = core_shape((z, y, x), CROP_VOXELS // math.prod(grid.factor))
    for n, crop, parts in zip(grid.shape, wanted, CROPS, strict=True):
        k = min(parts, max(1, n // crop))
        length = min(n, crop)
        spans.append([((2 * i + 1) * n // (2 * k) - length // 2, length) for i in range(k)])
    return [Box((z, y, x), (d, h, w)) for (z, d), (y, h), (x, w) in product(*spans)]


def _crop(volume: VolumeReader, channel: int, grid: Grid, box: Box, read_voxels: int) -> tuple[Float, Float, Grid]:
    """Sharp and smoothed contrast of one crop, and its grid as if it were a volume."""
    working = averaged(volume, channel, grid, box, read_voxels)
    part = Grid(grid.radius, grid.factor, grid.spacing, box.shape, grid.full_box(box).shape)
    sums = cell_sums(working, part.cell)
    background = Background.of(part, sums["total"], sums["squares"], sums["count"])
    sharp, smoothed = normalise(working, background, Box((0, 0, 0), box.shape), part.sigma)
    return sharp, smoothed, part


def _gain(sharp: Float, smoothed: Float, grid: Grid, thresholds: tuple[float, ...], criteria: Criteria) -> float:
    """Gain of the objects in one crop: see `Finding`."""
    level = quantise(smoothed, thresholds)
    whole = Box((0, 0, 0), grid.shape)
    _, nodes = block_nodes(opened_levels(level, grid), level, sharp, whole, whole.slices, grid)
    chosen = select(nodes, grid, criteria)
    volume = nodes.voxels[chosen.rows] * float(np.prod(grid.factor))
    return float((chosen.strength * np.cbrt(volume) ** 2).sum() / (sharp.size * np.prod(grid.factor)))


def describe(finding: Finding, info: VolumeInfo) -> dict[str, Any]:
    """Plain JSON types for the record."""
    return {
        "channel": finding.channel,
        "polarity": "bright" if finding.polarity > 0 else "dark",
        "radius_px": finding.radius / min(info.spacing[1:]),
        "radius_um": finding.radius if info.voxel_um is not None else None,
        "thresholds": [round(t, 4) for t in finding.thresholds],
        "gain": round(finding.gain, 5),
    }
