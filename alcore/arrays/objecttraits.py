"""How much instance labels put into each of the patches of one volume: foreground, borders, objects shared between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]
Float32 = npt.NDArray[np.float32]


class ObjectShares:
    """Collects the blocks of a label volume, patch by patch, and shares every object out among the patches it lies in.

    Memory grows with the number of objects, not of voxels.
    """

    def __init__(self, n_patches: int, n_objects: int) -> None:
        """n_objects: the largest id that may come."""
        self._voxels = np.zeros(n_patches, np.int64)
        self._foreground = np.zeros(n_patches, np.int64)
        self._border = np.zeros(n_patches, np.int64)
        self._sizes = np.zeros(n_objects + 1, np.int64)
        self._parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []

    def add(self, patch: int, labels: Ids) -> None:
        """Take some slices (z, y, x) of instance ids, 0 = background, of one patch into account, each slice once.

        Raises ValueError for an id beyond the largest.
        """
        inside = labels[labels > 0]
        ids, counts = np.unique(inside, return_counts=True)
        if len(ids) and int(ids[-1]) >= len(self._sizes):
            raise ValueError(f"object {ids[-1]} is beyond the {len(self._sizes) - 1} objects that there are")
        self._voxels[patch] += labels.size
        self._foreground[patch] += inside.size
        self._border[patch] += int(np.count_nonzero(borders(labels)))
        self._sizes[ids] += counts
        self._parts.append((np.full(len(ids), patch, np.int64), ids.astype(np.int64), counts.astype(np.int64)))

    def result(self, confidence: npt.NDArray[np.float64] | None = None) -> dict[str, Float32]:
        """(N,) float32 by name: foreground, border, n_objects, confidence.

        foreground, border: shares of voxels. n_objects: every object counted by the share of it inside, so that the sum over
        all patches is the number of objects. confidence: mean over its objects, so weighted, of the confidence (id i at
        position i - 1); NaN where there is none.
        """
        n = len(self._voxels)
        shares, weighted = np.zeros(n), np.zeros(n)
        for patches, ids, counts in self._parts:
            share = counts / self._sizes[ids]
            np.add.at(shares, patches, share)
            if confidence is not None:
                np.add.at(weighted, patches, share * confidence[ids - 1])
        voxels = np.maximum(self._voxels, 1)
        mean = np.divide(weighted, shares, out=np.full(n, np.nan), where=shares > 0)
        return {
            "foreground": (self._foreground / voxels).astype(np.float32),
            "border": (self._border / voxels).astype(np.float32),
            "n_objects": shares.astype(np.float32),
            "confidence": (mean if confidence is not None else np.full(n, np.nan)).astype(np.float32),
        }


def borders(labels: Ids) -> npt.NDArray[np.bool_]:
    """(z, y, x) bool: object voxels with another id or background beside them in their slice.

    Along z slices are too far apart in most acquisitions for that to be a border.
    """
    edge = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        differ = labels[low] != labels[high]
        edge[low] |= differ
        edge[high] |= differ
    edge &= labels > 0
    return edge
