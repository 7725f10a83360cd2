"""Objects of slices become objects of the volume: the multicut of micro_sam and elf, on a graph instead of on voxels.

`merge_instance_segmentation_3d` of micro_sam needs the whole stack in memory, but what it solves is a graph whose nodes are
the objects of slices and whose edges are overlaps of neighbouring slices. Building that graph slice by slice gives the same
objects for a volume of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.pseudo.mosaic import areas
from alcore.pseudo.planes import Ids

BYTES_PER_OBJECT = 200
"""Memory per object of a slice while the graph is solved."""


def overlaps(plane: Ids, following: Ids, rows: int = 1 << 10) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Pairs (m, 2) of ids of two neighbouring slices (Y, X) that overlap, and the share of the first that overlaps.

    The first belongs to `plane`. The share is of its whole area, so that a small part of a large object weighs little.
    """
    n = int(following.max(initial=0)) + 1
    area = areas(plane, int(plane.max(initial=0)))
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for top in range(0, len(plane), rows):
        a, b = plane[top : top + rows].ravel(), following[top : top + rows].ravel()
        both = (a > 0) & (b > 0)
        found, count = np.unique(a[both].astype(np.int64) * n + b[both], return_counts=True)
        keys.append(found)
        counts.append(count)
    found, place = np.unique(np.concatenate(keys), return_inverse=True)
    common = np.bincount(place, np.concatenate(counts), minlength=len(found))
    pairs = np.stack(np.divmod(found, n), axis=1)
    return pairs, common / area[pairs[:, 0]]


def merged(n: int, pairs: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """For each object 0..n of the slices (0 = background) the smallest id of the object of the volume it belongs to.

    pairs (m, 2): ids over the whole stack; share (m,): as from `overlaps`. Costs as in micro_sam 1.8: the log odds of the
    share, plus one in favour of joining.
    """
    own = np.arange(n + 1)
    if not len(pairs):
        return own
    from bioimage_cpp.graph import UndirectedGraph
    from elf.segmentation.multicut import compute_edge_costs, multicut_decomposition

    graph = UndirectedGraph(n + 1)
    graph.insert_edges(pairs.astype(np.uint64))
    node = np.asarray(multicut_decomposition(graph, 1.0 - compute_edge_costs(share))).astype(np.int64)
    first = np.full(int(node.max()) + 1, n + 1)
    np.minimum.at(first, node[1:], own[1:])
    roots = first[node]
    roots[0] = 0
    return roots


@dataclass(frozen=True)
class Members:
    """Objects of all slices, 1..n over the whole stack in the order of slices; entry 0 is the background.

    z: their slice. voxels: their area. first: raster index in the volume of their first voxel. confidence in 0..1.
    """

    z: npt.NDArray[np.int64]
    voxels: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbered:
    """Objects of the volume. table (n + 1,) uint32: from ids over the stack to 1..n_objects; voxels, confidence of each."""

    table: npt.NDArray[np.uint32]
    voxels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


def numbered(members: Members, roots: npt.NDArray[np.int64], min_z_extent: int, min_voxels: int) -> Numbered:
    """Ids 1..n in raster order of first voxels, without objects that span too few slices or have too few voxels.

    The confidence of an object is the mean of those in its slices, weighted by area; those without one (NaN) do not count.
    """
    n = len(roots)
    voxels = np.bincount(roots, members.voxels, minlength=n).astype(np.int64)
    first = np.full(n, np.iinfo(np.int64).max)
    lowest, highest = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(first, roots, members.first)
    np.minimum.at(lowest, roots, members.z)
    np.maximum.at(highest, roots, members.z)
    kept = (roots == np.arange(n)) & (voxels >= max(min_voxels, 1))
    kept &= highest - lowest + 1 >= min_z_extent
    kept[0] = False
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(first[rows], kind="stable")]
    table = np.zeros(n, np.uint32)
    table[rows] = np.arange(1, len(rows) + 1)
    known = np.isfinite(members.confidence)
    weight = np.where(known, members.voxels, 0)
    total = np.bincount(roots, weight, minlength=n)
    weighted = np.bincount(roots, weight * np.where(known, members.confidence, 0), minlength=n)
    return Numbered(table[roots], voxels[rows], weighted[rows] / np.maximum(total[rows], 1))
