"""Let labelled cores grow into the foreground around them, voxel by voxel and all at the same pace."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]


def grow(ids: Ids, foreground: npt.NDArray[np.bool_], steps: int, in_plane: bool) -> bool:
    """Grow `ids` (Z, Y, X), in place, by at most `steps` voxels into `foreground` that has no id yet. Did anything change?

    In every step a voxel takes the id of a face neighbour, of several the smallest; neighbours above and below count only
    without `in_plane`. All voxels of a step look at the ids before it, so that a voxel depends on nothing farther away than
    `steps` voxels.
    """
    padded = np.pad(ids, 1)
    flat = padded.ravel()
    free = np.flatnonzero(np.pad(foreground & (ids == 0), 1))
    _, height, width = padded.shape
    around = (1, width) if in_plane else (1, width, height * width)
    changed = False
    for _ in range(steps):
        if not free.size:
            break
        nearest = np.zeros(free.size, np.uint32)
        for offset in (*around, *(-n for n in around)):
            beside = flat[free + offset]
            np.copyto(nearest, beside, where=(beside > 0) & ((nearest == 0) | (beside < nearest)))
        reached = nearest > 0
        if not reached.any():
            break
        flat[free[reached]] = nearest[reached]
        free, changed = free[~reached], True
    if changed:
        ids[...] = padded[1:-1, 1:-1, 1:-1]
    return changed
