"""A synthetic volume that looks like electron microscopy of neuropil, its mitochondria-like targets known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from alcore.types import VoxelSize

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int]

RADIUS_UM = (0.1, 0.16)
"""Radius of a mitochondrion, smallest and largest."""
CELL_UM = 0.8
"""Mean distance between the centres of neighbouring cell processes."""
GAP = np.ones((5, 9, 9), bool)
"""Neighbourhood kept free of other bodies: two voxels along z, four along y and x."""
GRID_STEP = 2
"""Cells are computed on every second voxel of y and x, then interpolated."""


def em_volume(
    shape_zyx: Shape,
    voxel_um: VoxelSize,
    rng: np.random.Generator,
    fraction: float = 0.08,
    touching: float = 0.15,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Image (Z, Y, X) uint8 and instance labels (Z, Y, X) uint16 (0 = background, ids 1..n).

    Targets are bent tubes and ellipsoids with a dark membrane and striped inside (cristae), and lie inside one cell.
    What makes them hard to threshold: cell membranes, myelin, dark cells, smudges, and homogeneous dark bodies of the
    same size and mean grey that are no targets; contrast that drifts over the field, slices that differ in brightness,
    blur and shot noise. Made for coarse z (4-6 times y and x, as in serial-section EM), but any voxel size works.

    fraction: share of target voxels aimed at. touching: share of the tubes that are cut in two, so that two targets are
    in contact with a dark membrane between; all others keep some background around them (`GAP`), so that connected
    components of the truth are nearly its instances.
    """
    spacing = np.array(voxel_um) / min(voxel_um)
    unit_um = min(voxel_um)
    cells = _Cells(shape_zyx, spacing, CELL_UM / unit_um, rng)
    scene = _Scene(shape_zyx, spacing, cells)
    low, high = (r / unit_um for r in RADIUS_UM)

    image = cells.cytoplasm(rng)
    image += 0.05 * _grain(shape_zyx, (0.4, 1.6, 1.6), rng)
    image -= 0.13 * np.clip(_smooth(shape_zyx, _lengths(spacing, 14.0), rng) - 1.0, 0, 1)  # smudges
    reticulum = np.abs(_smooth(shape_zyx, _lengths(spacing, 12.0), rng))
    image -= 0.22 * np.exp(-((reticulum / 0.05) ** 2)) * (_smooth(shape_zyx, _lengths(spacing, 40.0), rng) > 0.3)
    image -= 0.4 * cells.lines(rng)

    labels = np.zeros(shape_zyx, np.uint16)
    occupied = np.zeros(shape_zyx, bool)
    n, filled, wanted = 0, 0, fraction * labels.size
    for _ in range(_tries(wanted, spacing, low, high)):
        if filled >= wanted:
            break
        body = scene.body(_spine(scene.extent, rng, low, high, round_share=0.3), rng, wobble=0.16, blocked=occupied)
        if body is None:
            continue
        _paint_mitochondrion(image[body.window], body, rng)
        part = labels[body.window]
        n += 1
        part[body.mask] = n
        if rng.random() < touching and body.elongated:
            cut = body.along > 0.5
            if min((body.mask & cut).sum(), (body.mask & ~cut).sum()) > 0.3 * body.mask.sum():
                n += 1
                part[body.mask & cut] = n
                membrane = np.exp(-(((body.along - 0.5) * body.length / 1.6) ** 2)) * body.mask
                image[body.window] -= (0.2 * membrane).astype(np.float32)
        filled += int(body.mask.sum())
        occupied[body.window] |= ndimage.binary_dilation(body.mask, GAP)
    target = labels > 0
    for _ in range(int(0.35 * n) + 1):
        body = scene.body(
            _spine(scene.extent, rng, 0.5 * low, high, round_share=0.8), rng, wobble=0.1, blocked=occupied
        )
        if body is not None:
            _paint_dark_body(image[body.window], body, rng)
            occupied[body.window] |= body.mask
    return _acquire(image, spacing, rng), _in_raster_order(labels, target, n)


@dataclass(frozen=True)
class _Spine:
    """Centre line of a body: points (m, 3) and radii (m,), in units of the finest voxel edge."""

    points: Array
    radii: Array


@dataclass(frozen=True)
class _Body:
    """A rasterised body. depth: 0 at its centre line, 1 at its surface; along: 0..1 from end to end of the spine.

    axes: coordinates of the window along z, y, x in units of the finest voxel edge.
    """

    window: tuple[slice, slice, slice]
    mask: Mask
    depth: Array
    along: Array
    axes: list[Array]
    direction: Array
    radius: float
    length: float

    @property
    def elongated(self) -> bool:
        """True for tubes, which can be cut in two."""
        return self.length > 2.5 * self.radius


def _spine(
    extent: npt.NDArray[np.float64], rng: np.random.Generator, low: float, high: float, round_share: float
) -> _Spine:
    """A bent line somewhere in the volume, short for ellipsoids and long for tubes, mostly lying flat."""
    radius = rng.uniform(low, high)
    is_round = rng.random() < round_share
    length = radius * (rng.uniform(0.2, 1.2) if is_round else rng.uniform(2.5, 7.0))
    heading = rng.normal(size=3) * (0.6, 1.0, 1.0)
    heading /= np.linalg.norm(heading)
    bend = rng.normal(size=3) * (0.5, 1.0, 1.0) * 0.5
    m = int(np.clip(length / (0.35 * radius), 3, 24))
    t = np.linspace(-0.5, 0.5, m)[:, None]
    points = rng.uniform(0, 1, 3) * extent + length * (heading * t + bend * (t**2 - 0.08))
    swell = 1 + 0.18 * np.sin(np.linspace(0, rng.uniform(2, 7), m) + rng.uniform(0, 6))
    return _Spine(points.astype(np.float32), (radius * swell).astype(np.float32))


class _Scene:
    """The voxel grid, and the cells that bodies have to stay inside."""

    def __init__(self, shape: Shape, spacing: npt.NDArray[np.float64], cells: _Cells) -> None:
        self.shape, self.spacing, self.cells = shape, spacing, cells
        self.extent = np.array(shape) * spacing

    def body(self, spine: _Spine, rng: np.random.Generator, wobble: float, blocked: Mask) -> _Body | None:
        """Rasterise around `spine`, cut to one cell and away from `blocked`; None where too little would remain."""
        where = np.round(spine.points / self.spacing).astype(int)
        where = where[((where >= 0) & (where < self.shape)).all(axis=1)]
        if len(where) < 2 or self._refused(where, blocked):
            return None
        reach = spine.radii.max() / (1 - 2 * wobble) + self.spacing * np.floor_divide(GAP.shape, 2)  # room for the gap
        first = np.floor((spine.points.min(axis=0) - reach) / self.spacing).astype(int)
        last = np.ceil((spine.points.max(axis=0) + reach) / self.spacing).astype(int) + 1
        first, last = np.clip(first, 0, self.shape), np.clip(last, 0, self.shape)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        window = (z, y, x)
        axes = [np.arange(a, b, dtype=np.float32) * s for a, b, s in zip(first, last, self.spacing, strict=True)]
        box: Shape = (len(axes[0]), len(axes[1]), len(axes[2]))
        nearest, along = np.full(box, np.inf, np.float32), np.zeros(box, np.float32)
        for i, (point, radius) in enumerate(zip(spine.points, spine.radii, strict=True)):
            dz, dy, dx = (((axis - p) / radius) ** 2 for axis, p in zip(axes, point, strict=True))
            distance = (dz[:, None] + dy)[:, :, None] + dx
            closer = distance < nearest
            nearest[closer] = distance[closer]
            along[closer] = i / (len(spine.points) - 1)
        depth = np.sqrt(nearest) * (1 + wobble * np.clip(_smooth(box, _lengths(self.spacing, 9.0), rng), -2, 2))
        whole = depth < 1
        home = np.bincount(self.cells.id[window][whole].ravel(), minlength=1).argmax() if whole.any() else 0
        inside = whole & (self.cells.id[window] == home) & (self.cells.wall[window] > 3.0) & ~blocked[window]
        components, n = ndimage.label(inside)
        if n == 0:
            return None
        mask = components == np.bincount(components.ravel())[1:].argmax() + 1
        if mask.sum() < max(0.6 * whole.sum(), 40):
            return None
        direction = spine.points[-1] - spine.points[0]
        length = float(np.linalg.norm(direction))
        # where a wall cut the body, its surface is the cut: membranes follow the mask, not the ideal tube
        border = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=self.spacing)[1:-1, 1:-1, 1:-1]
        depth = np.maximum(depth, 1 - border / spine.radii.mean()).astype(np.float32)
        return _Body(window, mask, depth, along, axes, direction / max(length, 1e-6), float(spine.radii.mean()), length)

    def _refused(self, where: npt.NDArray[np.int64], blocked: Mask) -> bool:
        """True when the centre line meets something else, leaves its cell or enters myelin: not worth more."""
        index = tuple(where.T)
        homes = self.cells.id[index]
        if self.cells.wrapped[homes].any():
            return True
        return bool(blocked[index].mean() > 0.1 or np.bincount(homes).max() < 0.8 * len(homes))


class _Cells:
    """Cell processes: a Voronoi partition, smoothly bent. `wall` is the distance to the border of the next cell."""

    def __init__(self, shape: Shape, spacing: npt.NDArray[np.float64], size: float, rng: np.random.Generator) -> None:
        self.shape = shape
        coarse: Shape = (shape[0], -(-shape[1] // GRID_STEP), -(-shape[2] // GRID_STEP))
        scale = spacing * (1, GRID_STEP, GRID_STEP)
        extent = np.array(shape) * spacing
        margin = size
        self.n = max(4, int(np.prod((extent + 2 * margin) / size)))
        # processes run along one main direction, so squeeze it: long profiles beside round ones
        stretch = np.array([0.7, 1.0, 0.55])
        seeds = rng.uniform(-margin, extent + margin, (self.n, 3)) * stretch
        grid = np.stack(
            np.meshgrid(*[np.arange(c) * s for c, s in zip(coarse, scale, strict=True)], indexing="ij"), -1
        ).astype(np.float32)
        for axis in range(3):
            grid[..., axis] += 0.15 * size * _smooth(coarse, _lengths(scale, 0.6 * size), rng)
        distance, index = cKDTree(seeds).query(grid.reshape(-1, 3) * stretch, k=2)
        gap = np.linalg.norm(seeds[index[:, 0]] - seeds[index[:, 1]], axis=1)
        wall = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * gap)  # exact distance to the bisecting plane
        self.wrapped = rng.random(self.n) < 0.06
        self.wall = _enlarge(wall.reshape(coarse).astype(np.float32), shape)
        ids = index[:, 0].astype(np.int32).reshape(coarse)
        self.id = ids.repeat(GRID_STEP, axis=1).repeat(GRID_STEP, axis=2)[:, : shape[1], : shape[2]]

    def cytoplasm(self, rng: np.random.Generator) -> Array:
        """Grey of each voxel's cell: mostly light, every sixteenth nearly as dark as the targets."""
        grey = rng.normal(0.66, 0.045, self.n)
        dark = rng.random(self.n) < 0.06
        grey[dark] = rng.uniform(0.4, 0.5, dark.sum())
        return grey.astype(np.float32)[self.id]

    def lines(self, rng: np.random.Generator) -> Array:
        """Darkness 0..1 of cell membranes, and of the myelin that some cells are wrapped in."""
        width = rng.uniform(1.3, 2.1, self.n).astype(np.float32)[self.id]
        out = np.exp(-((self.wall / width) ** 2))
        wrapped = self.wrapped[self.id] & (self.wall < 13)
        out[wrapped] = 0.55 + 0.4 * np.cos(2 * np.pi * self.wall[wrapped] / 4.5)
        return out


def _paint_mitochondrion(view: Array, body: _Body, rng: np.random.Generator) -> None:
    """Matrix somewhat dark, cristae as stripes across the long axis, outer membrane darker still."""
    matrix = rng.normal(0.34, 0.03)
    tilt = rng.normal(size=3) * 0.35 + body.direction
    tilt /= np.linalg.norm(tilt)
    box: Shape = view.shape
    z, y, x = (axis * t for axis, t in zip(body.axes, tilt.astype(np.float32), strict=True))
    phase = (z[:, None] + y)[:, :, None] + x + 2.2 * _smooth(box, (3.0, 9.0, 9.0), rng)
    stripes = np.sin(2 * np.pi * phase / rng.uniform(5.5, 7.5)) * rng.uniform(0.09, 0.13)
    border = np.clip((body.depth - 1) * body.radius + 2.6, 0, 2.6) / 2.6
    grey = matrix + stripes * (1 - border) - 0.15 * border
    view[body.mask] = grey[body.mask]


def _paint_dark_body(view: Array, body: _Body, rng: np.random.Generator) -> None:
    """Lysosome-like: evenly dark with fine grain, soft edge, thin light halo; no stripes and no membrane."""
    grey = rng.normal(0.36, 0.035) + 0.02 * rng.standard_normal(view.shape)
    edge = (1 - body.depth) * body.radius
    weight = np.clip(edge / 3.0, 0, 1) * body.mask
    halo = np.exp(-((edge / 1.2) ** 2)) * body.mask * 0.1
    view[...] = view * (1 - weight) + grey * weight + halo


def _acquire(image: Array, spacing: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Blur, uneven contrast, brightness jitter per slice, shot and read-out noise, eight bits."""
    shape: Shape = image.shape
    image = ndimage.gaussian_filter(image, (0, 0.8, 0.8))
    contrast = 1 + 0.12 * _smooth(shape, _lengths(spacing, max(shape[1:]) / 2.5), rng)
    offset = 0.07 * _smooth(shape, _lengths(spacing, max(shape[1:]) / 3), rng)
    jitter = rng.normal(0, 0.025, (shape[0], 1, 1)).astype(np.float32)
    image = 0.52 + (image - 0.52) * contrast + offset + jitter
    noise = rng.standard_normal(shape, dtype=np.float32)
    image += noise * np.sqrt(0.035**2 + 0.004 * np.clip(image, 0, 1))  # Poisson at about 250 electrons, then read-out
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _in_raster_order(labels: npt.NDArray[np.uint16], target: Mask, n: int) -> npt.NDArray[np.uint16]:
    """Ids 1..n in the order in which a reader meets them."""
    ids, first = np.unique(labels[target], return_index=True)
    table = np.zeros(n + 1, np.uint16)
    table[ids[np.argsort(first)]] = np.arange(1, len(ids) + 1)
    return table[labels]


def _tries(wanted: float, spacing: npt.NDArray[np.float64], low: float, high: float) -> int:
    """Enough attempts to reach `wanted` voxels when three in four are refused."""
    return 4 + int(4 * wanted * np.prod(spacing) / (4 * ((low + high) / 2) ** 3))


def _lengths(spacing: npt.NDArray[np.float64], length: float) -> tuple[float, float, float]:
    """One physical length in voxels along each axis."""
    z, y, x = (float(length / s) for s in spacing)
    return (z, y, x)


def _grain(shape: Shape, sigma: tuple[float, float, float], rng: np.random.Generator) -> Array:
    """White noise blurred to a fine grain, standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return noise / max(float(noise.std()), 1e-6)


def _smooth(shape: Shape, lengths: tuple[float, float, float], rng: np.random.Generator) -> Array:
    """Gaussian random field, standard deviation 1, correlation lengths in voxels: cubic B-splines on white noise."""
    weights = []
    for n, length in zip(shape, lengths, strict=True):
        step = max(length, 1.0)
        knots = np.arange(int(np.ceil((n - 1) / step)) + 4) - 1.5 + rng.uniform(-0.5, 0.5)
        u = np.abs(np.arange(n)[:, None] / step - knots[None])
        spline = np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.clip(2 - u, 0, None) ** 3 / 6)
        weights.append((spline / np.sqrt((spline**2).sum(axis=1, keepdims=True))).astype(np.float32))
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for w in weights:  # contracting the first axis puts it last: after three turns the order is z, y, x again
        field = np.tensordot(field, w, axes=(0, 1))
    return field


def _enlarge(coarse: Array, shape: Shape) -> Array:
    """Linear interpolation of y and x from every second voxel to all."""
    for axis in (1, 2):
        after = np.concatenate([coarse.take(range(1, coarse.shape[axis]), axis), coarse.take([-1], axis)], axis)
        both = np.stack([coarse, (coarse + after) / 2], axis=axis + 1)
        merged = list(coarse.shape)
        merged[axis] *= 2
        coarse = both.reshape(merged).take(range(shape[axis]), axis)
    return coarse
