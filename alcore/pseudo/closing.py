"""Close gaps along z in a stack of slice-wise objects, a few slices in memory at a time, as micro_sam does on the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from alcore.pseudo.planes import Found, Ids

Mask = npt.NDArray[np.bool_]


def closed_mask(mask_of: Callable[[int], Mask], z: int, depth: int, gap: int) -> Mask:
    """The mask (Y, X) of slice z after a binary closing along z by `gap` slices on each side.

    mask_of gives the mask of any slice. Slices within `gap` of the ends are not closed: what is beyond is unknown.
    """
    if z < gap or z >= depth - gap:
        return mask_of(z)
    masks = {k: mask_of(k) for k in range(max(0, z - 2 * gap), min(depth, z + 2 * gap + 1))}
    closed: Mask | None = None
    for centre in range(z - gap, z + gap + 1):
        dilated = np.logical_or.reduce([masks[k] for k in range(centre - gap, centre + gap + 1) if k in masks])
        closed = dilated if closed is None else closed & dilated
    assert closed is not None
    return closed


def close(found: Found, mask: Mask) -> Found:
    """Objects of a slice with the gaps of `mask` (Y, X) filled.

    Each region of the mask, diagonals included, that meets at most one object of the slice is one object; where it meets several,
    these stay as they are, because filling would join neighbours. Objects new in this slice have confidence NaN.
    """
    from scipy import ndimage

    regions, n = ndimage.label(mask, np.ones((3, 3), bool))
    ids = found.ids
    meets = (regions > 0) & (ids > 0)
    width = len(found.confidence) + 1
    pairs, area = np.unique(regions[meets].astype(np.int64) * width + ids[meets], return_counts=True)
    region, met = np.divmod(pairs, width)
    several = np.bincount(region, minlength=n + 1) > 1
    several[0] = True
    inside = ~several[regions]
    confidence = np.full(n + 1, np.nan)
    one = ~several[region]
    weighted = np.bincount(region[one], (area * found.confidence[met - 1])[one], minlength=n + 1)
    met_area = np.bincount(region[one], area[one], minlength=n + 1)
    np.divide(weighted, met_area, out=confidence, where=met_area > 0)
    stays = np.zeros(width, bool)
    stays[met[several[region]]] = True
    out: Ids = np.where(inside, regions, 0).astype(np.uint32)
    left = stays[ids]
    out[left] = ids[left] + np.uint32(n)
    return compact(Found(out, np.concatenate([confidence[1:], found.confidence]).astype(np.float32)))


def compact(found: Found) -> Found:
    """The same objects with ids 1..n, every one of them used, in the order of the old ids."""
    used = np.bincount(found.ids.ravel(), minlength=len(found.confidence) + 1) > 0
    used[0] = False
    table = np.zeros(len(used), np.uint32)
    table[used] = np.arange(1, used.sum() + 1)
    return Found(table[found.ids], found.confidence[used[1:]])
