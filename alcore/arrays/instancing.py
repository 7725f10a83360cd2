"""Instances from a foreground mask: 6-connected components, whole or slab by slab."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError

Labels = npt.NDArray[np.uint32]


def connected_components(mask: npt.NDArray[np.generic], min_voxels: int = 0) -> Labels:
    """Instances (Z, Y, X) uint32, 0 = background, of a mask (Z, Y, X): its face-connected components.

    As in Zhao et al. 2025, Sec. 2. Components of fewer than `min_voxels` voxels are dropped. Ids are 1..n in
    raster order of their first voxel.
    """
    from scipy import ndimage

    labels = np.empty(mask.shape, np.uint32)
    ndimage.label(mask != 0, structure=ndimage.generate_binary_structure(3, 1), output=labels)
    table = _table(_roots(int(labels.max(initial=0)), []), np.bincount(labels.ravel()), min_voxels)
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


class SlabComponents:
    """Connected components of a mask that comes in slabs along z, in order, and need not fit into memory.

    First pass: `add` each slab and store the provisional ids it returns. Second pass: replace every provisional id by
    `table[id]` with the table from `finish`. The result equals `connected_components` of the whole mask.
    """

    def __init__(self) -> None:
        self._n = 0
        self._sizes: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._touching: list[npt.NDArray[np.uint32]] = []
        self._last_plane: Labels | None = None

    def add(self, mask: npt.NDArray[np.generic]) -> Labels:
        """Provisional ids (z, Y, X) uint32 of the next slab's mask (z, Y, X), unique over all slabs; 0 = background."""
        if len(mask) == 0:
            return np.zeros(mask.shape, np.uint32)
        labels = connected_components(mask)
        sizes = np.bincount(labels.ravel())
        if self._n + sizes.size > np.iinfo(np.uint32).max:
            raise PermanentError("more than 4 billion components: the mask is noise, raise the threshold or smooth it")
        self._sizes.append(sizes[1:])
        labels[labels > 0] += np.uint32(self._n)
        self._n += sizes.size - 1
        if self._last_plane is not None:
            pairs = np.stack([self._last_plane.ravel(), labels[0].ravel()], axis=1)
            self._touching.append(np.unique(pairs[(pairs > 0).all(axis=1)], axis=0))
        self._last_plane = labels[-1].copy()
        return labels

    def finish(self, min_voxels: int = 0) -> Labels:
        """Table (n_provisional + 1,) uint32 from provisional to final ids 1..n; what is too small becomes 0."""
        return _table(_roots(self._n, self._touching), np.concatenate(self._sizes), min_voxels)


def _roots(n: int, touching: list[npt.NDArray[np.uint32]]) -> npt.NDArray[np.int64]:
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


def _table(roots: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], min_voxels: int) -> Labels:
    """Final ids by provisional id: one per root whose joined size is large enough, in the order of the roots."""
    joined = np.bincount(roots, weights=sizes, minlength=len(roots))
    kept = (roots == np.arange(len(roots))) & (joined >= max(min_voxels, 1))
    kept[0] = False
    final = np.zeros(len(roots), np.uint32)
    final[kept] = np.arange(1, kept.sum() + 1)
    return final[roots]
