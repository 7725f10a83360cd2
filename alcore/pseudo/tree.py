"""Component tree of a volume in blocks: every bright component at every threshold, with its contrast and its leaks.

Each block contributes nodes whose figures are sums over voxels or over pairs of neighbouring voxels, so that joining the
nodes of neighbouring blocks gives exactly the tree of the whole volume. Picking the best set of components that exclude
each other follows Arteta et al. 2012 ("Learning to detect cells using non-overlapping extremal regions"), with a fixed score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from alcore.pseudo.grid import Float, Grid
from alcore.types import Box

Level = npt.NDArray[np.uint8]
LARGEST_SHARE = 0.25
"""An object fills at most this share of a volume; what fills more is its background."""
WORTH_STEPS = 2.0**32
OUTSIDE = 255
"""Level of voxels outside the volume: never below any threshold, so that a component does not end there."""


def opened_levels(level: Level, grid: Grid) -> Level:
    """Grey opening of thresholded levels by the ball of the object radius: at every threshold, what is thinner goes."""
    ball = grid.ball(grid.radius)
    eroded = _over_ball(level, ball, np.minimum)
    return np.minimum(_over_ball(eroded, ball, np.maximum), level)


def _over_ball(level: Level, ball: npt.NDArray[np.intp], combine: np.ufunc) -> Level:
    reach = np.abs(ball).max(0)
    padded = np.pad(level, [(int(k), int(k)) for k in reach], mode="edge")
    out: Level | None = None
    for offset in ball + reach:
        shifted = padded[tuple(slice(int(o), int(o) + n) for o, n in zip(offset, level.shape, strict=True))]
        out = shifted.copy() if out is None else combine(out, shifted, out=out)
    assert out is not None
    return out


@dataclass(frozen=True)
class Nodes:
    """Components of thresholded levels; node k of a table is row k, row 0 is the background.

    level: threshold number from 1. parent: row of the component one threshold lower that contains it (0 at level 1).
    voxels, total: number of voxels and sum of their contrast. first: raster index of the first voxel in the volume.
    pairs, outside, leaks: pairs of a voxel inside and a neighbour outside; sum of the neighbours' contrast; how many of
    those neighbours only the opening removed. settled: largest worth of components below that are in no table any more.
    """

    level: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    voxels: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    outside: npt.NDArray[np.float64]
    leaks: npt.NDArray[np.int64]
    settled: npt.NDArray[np.float64]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Columns by name."""
        return dict(vars(self))


def block_nodes(
    opened: Level, level: Level, contrast: Float, core: Box, where: tuple[slice, slice, slice], grid: Grid
) -> tuple[npt.NDArray[np.int32], Nodes]:
    """Nodes of the core of one block, and for each core voxel the node of its own highest threshold (0 = none).

    The arrays (Z, Y, X) cover the core, at `where` in them, and `grid.neighbourhood` more wherever the volume goes on.
    """
    offsets = grid.neighbourhood
    reach = [int(k) for k in np.abs(offsets).max(0)]
    inner = tuple(slice(max(0, s.start - k), s.stop + k) for k, s in zip(reach, where, strict=True))
    room = [(k - min(k, s.start), k - min(k, n - s.stop)) for k, s, n in zip(reach, where, opened.shape, strict=True)]
    top = np.pad(opened[inner], room, constant_values=OUTSIDE)
    raw = np.pad(level[inner], room, constant_values=OUTSIDE).ravel()
    value = np.pad(contrast[inner], room, constant_values=0)
    inside = tuple(slice(k, k + n) for k, n in zip(reach, core.shape, strict=True))
    own, own_value, value = top[inside], value[inside].ravel(), value.ravel()
    index = np.arange(top.size, dtype=np.int64).reshape(top.shape)
    steps = offsets @ np.array([top.shape[1] * top.shape[2], top.shape[2], 1])
    p, q = _boundary_pairs(own, top.ravel(), index[inside], steps)
    p_level, q_level, q_raw, q_value = own.ravel()[p], top.ravel()[q], raw[q], value[q].astype(np.float64)

    node = np.zeros(own.shape, np.int32)
    flat = node.ravel()
    columns: dict[str, list[npt.NDArray[Any]]] = {
        k: [np.zeros(1, t)]
        for k, t in (
            ("level", np.int64),
            ("parent", np.int64),
            ("pairs", np.int64),
            ("outside", np.float64),
            ("leaks", np.int64),
        )
    }
    below, below_offset, offset = np.zeros(own.size, np.int32), 0, 1
    for threshold in range(1, int(own.max(initial=0)) + 1):
        labels, n = ndimage.label(own >= threshold)
        labels = labels.astype(np.int32, copy=False).ravel()
        members = np.flatnonzero(labels)
        parent = np.zeros(n + 1, np.int64)
        parent[labels[members]] = below[members] + below_offset if threshold > 1 else 0
        crossing = (q_level < threshold) & (p_level >= threshold)
        which = labels[p[crossing]]
        columns["level"].append(np.full(n, threshold, np.int64))
        columns["parent"].append(parent[1:])
        columns["pairs"].append(np.bincount(which, minlength=n + 1)[1:])
        columns["outside"].append(np.bincount(which, q_value[crossing], minlength=n + 1)[1:])
        columns["leaks"].append(np.bincount(which[q_raw[crossing] >= threshold], minlength=n + 1)[1:])
        flat[members] = labels[members] + (offset - 1)
        below, below_offset, offset = labels, offset - 1, offset + n

    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    voxels = np.bincount(flat, minlength=offset)
    total = np.bincount(flat, own_value, minlength=offset).astype(np.float64)
    first = np.full(offset, np.iinfo(np.int64).max)
    order = np.arange(flat.size)[::-1]
    position = np.unravel_index(order, own.shape)
    first[flat[::-1]] = np.ravel_multi_index(
        tuple(k + s for k, s in zip(position, core.start, strict=True)), grid.shape
    )
    for threshold in range(int(own.max(initial=0)), 1, -1):
        rows = np.flatnonzero(table["level"] == threshold)
        parents = table["parent"][rows]
        np.add.at(voxels, parents, voxels[rows])
        np.add.at(total, parents, total[rows])
        np.minimum.at(first, parents, first[rows])
    return node, Nodes(voxels=voxels, total=total, first=first, settled=np.zeros(offset), **table)


def _boundary_pairs(
    own: Level, top: Level, index: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Core voxels (raster index in the core) and lower neighbours (raster index in the padded block), pair by pair."""
    flat_own, flat_index = own.ravel(), index.ravel()
    candidates = np.flatnonzero(flat_own)
    inside, outside = [np.zeros(0, np.intp)], [np.zeros(0, np.int64)]
    for step in steps:
        neighbour = flat_index[candidates] + step
        lower = top[neighbour] < flat_own[candidates]
        inside.append(candidates[lower])
        outside.append(neighbour[lower])
    return np.concatenate(inside), np.concatenate(outside)


def join(tables: list[Nodes], faces: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> tuple[Nodes, Any]:
    """One tree from the tables of all blocks, and for each row of the concatenated tables its row in the tree.

    faces: for voxels that touch across a border of two blocks, their nodes as rows of the concatenated tables, in which
    table k starts at the summed length of the tables before it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offsets = np.cumsum([0] + [len(t.level) for t in tables])
    level = np.concatenate([t.level for t in tables])
    parent = np.concatenate([np.where(t.level > 1, t.parent + o, 0) for t, o in zip(tables, offsets, strict=False)])
    edges = [np.zeros((2, 0), np.int64)]
    edges.append(np.stack([np.zeros(len(tables), np.int64), offsets[:-1]]))  # all backgrounds are one
    pairs = np.concatenate([np.stack(f) for f in faces], axis=1) if faces else np.zeros((2, 0), np.int64)
    for threshold in range(int(level.max(initial=0)), 0, -1):
        pairs = np.unique(np.where(level[pairs] > threshold, parent[pairs], pairs), axis=1)
        edges.append(pairs[:, (level[pairs] == threshold).all(axis=0)])
    a, b = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(level), len(level)))
    n, row = connected_components(graph, directed=False)

    def summed(name: str) -> npt.NDArray[Any]:
        values = np.concatenate([getattr(t, name) for t in tables])
        return np.bincount(row, values, minlength=n).astype(values.dtype)

    joined_level, joined_parent = np.zeros(n, np.int64), np.zeros(n, np.int64)
    joined_level[row], joined_parent[row] = level, row[parent]
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, row, np.concatenate([t.first for t in tables]))
    sums = {name: summed(name) for name in ("voxels", "total", "pairs", "outside", "leaks", "settled")}
    return Nodes(level=joined_level, parent=joined_parent, first=first, **sums), row


@dataclass(frozen=True)
class Criteria:
    """What a component must have to be an object. Sizes in volumes of the smallest ball; contrast in local standard deviations."""

    min_contrast: float
    max_leak: float
    min_size: float
    max_size: float


@dataclass(frozen=True)
class Selection:
    """Components chosen as objects, in the order of their first voxels. rows: of the tree. strength: contrast less leaks.

    of_row: for every row of the tree the id 1..n of the object that it belongs to, 0 = none.
    """

    rows: npt.NDArray[np.int64]
    strength: npt.NDArray[np.float64]
    of_row: npt.NDArray[np.uint32]


def worth(tree: Nodes, grid: Grid, criteria: Criteria) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For every row what it is worth as an object, strength x cube root of volume (0: it is none), and its strength.

    Worth comes in steps of 2^-32: its sums are then exact, and which set is best does not depend on the order of adding.
    """
    volume = tree.voxels / grid.ball_volume
    pairs = np.maximum(tree.pairs, 1)
    contrast = tree.total / np.maximum(tree.voxels, 1) - tree.outside / pairs
    strength = contrast * (1 - tree.leaks / pairs / criteria.max_leak).clip(0, 1)
    fit = (tree.level > 0) & (tree.pairs > 0) & (strength >= criteria.min_contrast)
    fit &= tree.voxels <= LARGEST_SHARE * np.prod(grid.shape)
    fit &= (volume >= criteria.min_size) & (volume <= criteria.max_size)
    return np.where(fit, np.rint(strength * np.cbrt(volume) * WORTH_STEPS) / WORTH_STEPS, 0.0), strength


def best_below(
    tree: Nodes, value: npt.NDArray[np.float64], decided: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """(largest worth of a set of components at or below each row, rows that are worth at least all that is below them).

    Only `decided` rows, with which everything below them is decided, may be taken; for others it is what lies below.
    """
    best = tree.settled.copy()
    taken = np.zeros(len(value), bool)
    for level in range(int(tree.level.max(initial=0)), 0, -1):
        rows = np.flatnonzero((tree.level == level) & decided)
        taken[rows] = (value[rows] > 0) & (value[rows] >= best[rows])
        best[rows] = np.maximum(best[rows], value[rows])
        np.add.at(best, tree.parent[rows], best[rows])
    return best, taken


def owners(tree: Nodes, taken: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each row the outermost taken row at or above it, 0 = none."""
    owner = np.zeros(len(taken), np.int64)
    for level in range(1, int(tree.level.max(initial=0)) + 1):
        rows = np.flatnonzero(tree.level == level)
        inherited = owner[tree.parent[rows]]
        owner[rows] = np.where(inherited > 0, inherited, np.where(taken[rows], rows, 0))
    return owner


def select(tree: Nodes, grid: Grid, criteria: Criteria) -> Selection:
    """The components that exclude each other and have the largest sum of strength x cube root of volume."""
    value, strength = worth(tree, grid, criteria)
    _, taken = best_below(tree, value, np.ones(len(value), bool))
    owner = owners(tree, taken)
    chosen = np.flatnonzero((owner == np.arange(len(value))) & (owner > 0))
    chosen = chosen[np.argsort(tree.first[chosen], kind="stable")]
    ids = np.zeros(len(value), np.uint32)
    ids[chosen] = np.arange(1, len(chosen) + 1)
    return Selection(chosen, strength[chosen], ids[owner])
