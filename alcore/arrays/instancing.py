"""Instances from a foreground mask: 6-connected components (in blocks: see `block_components`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint32]


def connected_components(mask: npt.NDArray[np.generic], min_voxels: int = 0) -> Labels:
    """Instances (Z, Y, X) uint32, 0 = background, of a mask (Z, Y, X): its face-connected components.

    As in Zhao et al. 2025, Sec. 2. Components of fewer than `min_voxels` voxels are dropped. Ids are 1..n in
    raster order of their first voxel.
    """
    from scipy import ndimage

    labels = np.empty(mask.shape, np.uint32)
    ndimage.label(mask != 0, structure=ndimage.generate_binary_structure(3, 1), output=labels)
    kept = np.bincount(labels.ravel(), minlength=1) >= max(min_voxels, 1)
    kept[0] = False
    table = np.zeros(len(kept), np.uint32)
    table[kept] = np.arange(1, kept.sum() + 1)
    return table[labels]


def relabel_sequential(labels: npt.NDArray[np.generic]) -> Labels:
    """The same instances with ids 1..n in the order of the old ids; 0 stays 0. Any integer dtype, any shape -> uint32.

    Raises ValueError for ids below zero or a dtype that is not integer.
    """
    if labels.dtype.kind not in "biu":
        raise ValueError(f"instance ids must be integers, got dtype {labels.dtype}")
    if labels.size == 0:
        return labels.astype(np.uint32)
    if labels.min() < 0:
        raise ValueError(f"instance ids must not be negative, got {labels.min()}")
    if int(labels.max()) <= max(1 << 20, labels.size):  # a table is far cheaper than sorting every voxel
        index = labels.astype(np.intp, copy=False)
        used = np.bincount(index.ravel()) > 0
        used[0] = False
        table = np.zeros(used.size, np.uint32)
        table[used] = np.arange(1, used.sum() + 1)
        return table[index]
    ids, inverse = np.unique(labels, return_inverse=True)
    shift = 0 if ids[0] == 0 else 1
    return (inverse.reshape(labels.shape) + shift).astype(np.uint32)


def joined_roots(n: int, touching: list[npt.NDArray[np.uint32]]) -> npt.NDArray[np.int64]:
    """For each id 0..n the smallest id that it is joined with through the pairs (m, 2) in `touching`."""
    own = np.arange(n + 1)
    if not any(len(pairs) for pairs in touching):
        return own
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components as graph_components

    pairs = np.concatenate(touching).astype(np.int64)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n + 1, n + 1))
    _, component = graph_components(graph, directed=False)
    first = np.full(n + 1, n + 1)
    np.minimum.at(first, component, own)
    return first[component]
