"""Cut a labelled image into a pool and test regions apart from it: pure geometry, no voxel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.arrays.tiling import tile
from alcore.errors import PermanentError
from alcore.types import Box

Rows = npt.NDArray[np.int64]

LEAST_POOL = 8
"""Patches: with fewer there is nothing to choose."""
STEP = 16
"""Pools are multiples of so many patches where they are larger, so that a sixteenth of the labels is a whole number."""
DRAWN = 0.8
"""Share of the patches beside a test region that one seed's pool holds: seeds then see different pools."""
LEAST_PATCHES = 96
"""The patch size that is chosen gives at least so many patches, where the image has room for them."""
EDGES = (512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16)
DEPTH = 16


def patch_for(zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """A patch (z, y, x): the largest square from `EDGES` of which there are `LEAST_PATCHES`, about `DEPTH` slices deep."""
    depth = min(zyx[0], DEPTH)
    for edge in EDGES:
        if edge <= min(zyx[1:]) and len(tile(zyx, (depth, edge, edge))) >= LEAST_PATCHES:
            return depth, edge, edge
    edge = min(EDGES[-1], *zyx[1:])
    return depth, edge, edge


@dataclass(frozen=True)
class Split:
    """A test region, and the patches (positions in the list of boxes) that lie at least the gap away from it."""

    region: Box
    rows: Rows


def splits(
    zyx: tuple[int, int, int],
    boxes: Sequence[Box],
    patch_px: tuple[int, int, int],
    axis: int | None,
    test_share: float,
    gap_px: int | None,
) -> list[Split]:
    """All disjoint test regions: slabs across the image of whole columns of patches, one beside the other along the axis.

    axis: 1 = Y, 2 = X, None = the longer (X of equal ones). gap_px: None = a patch. A region is about `test_share` of the
    image. Raises PermanentError where the image is too small for a test region, a gap on one side and a pool.
    """
    if any(p > n for p, n in zip(patch_px, zyx, strict=True)):
        raise PermanentError(
            f"a patch of {_x(patch_px)} voxels (z, y, x) is larger than the volume of {_x(zyx)}: cut smaller ones (--patch)"
        )
    along = axis if axis is not None else (1 if zyx[1] > zyx[2] else 2)
    edges = sorted({(box.start[along], box.stop[along]) for box in boxes})
    widest = max(b - a for a, b in edges)
    gap = widest if gap_px is None else gap_px
    if gap < widest:
        raise PermanentError(f"--gap of {gap} is less than a patch ({widest} voxels along {'ZYX'[along]})")
    per_region = max(1, round(test_share * len(edges)))
    found = []
    for first in range(0, len(edges) - per_region + 1, per_region):
        low, high = edges[first][0], edges[first + per_region - 1][1]
        start, shape = [0, 0, 0], list(zyx)
        start[along], shape[along] = low, high - low
        far = [i for i, box in enumerate(boxes) if box.stop[along] <= low - gap or box.start[along] >= high + gap]
        region = Box((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
        found.append(Split(region, np.array(far, np.int64)))
    usable = [split for split in found if len(split.rows) >= LEAST_POOL]
    if not usable:
        raise PermanentError(
            f"a volume of {_x(zyx)} voxels (z, y, x) is too small: beside a test region and a gap of {gap} voxels at most "
            f"{max((len(s.rows) for s in found), default=0)} patches of {_x(patch_px)} are left, {LEAST_POOL} are needed; cut "
            "smaller ones (--patch)"
        )
    return usable


def pool_size(found: Sequence[Split], wanted: int | None) -> int:
    """Patches in every seed's pool, the same for all splits: as wanted, or `DRAWN` of the least, in whole `STEP`s.

    Raises PermanentError for more than there are.
    """
    most = min(len(split.rows) for split in found)
    if wanted is not None:
        if wanted > most:
            raise PermanentError(f"--pool-size {wanted}: beside one of the test regions only {most} patches are left")
        return wanted
    drawn = int(DRAWN * most)
    if drawn >= STEP:
        return drawn // STEP * STEP
    return max(LEAST_POOL, drawn)


def drawn_rows(split: Split, number: int, seed: int, n: int) -> Rows:
    """The patches of one seed's pool, ascending: the same for every strategy and learner."""
    chosen: Rows = np.sort(np.random.default_rng([number, seed]).choice(split.rows, n, replace=False))
    return chosen


def _x(lengths: Sequence[int]) -> str:
    return " x ".join(map(str, lengths))
