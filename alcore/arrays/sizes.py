"""The least size of an object, said in voxels, in um3, or in both."""

from __future__ import annotations

import math

from alcore.types import VoxelSize


def least_voxels(min_voxels: int | None, min_um3: float, voxel_um: VoxelSize | None) -> int | None:
    """Fewest voxels of an object: the stricter of both limits, None where neither is set. voxel_um: (z, y, x).

    min_um3: 0 = no limit; it does not count where the voxel size is unknown (see `unmeasured`).
    """
    if not min_um3 or voxel_um is None:
        return min_voxels
    return max(min_voxels or 0, math.ceil(min_um3 / math.prod(voxel_um) * (1 - 1e-9)))


def unmeasured(min_um3: float, voxel_um: VoxelSize | None) -> tuple[str, ...]:
    """A note for people, where a limit in um3 could not be applied."""
    if not min_um3 or voxel_um is not None:
        return ()
    return (
        f"prediction.min_object_um3 = {min_um3:g} was not applied: the voxel size of this volume is unknown, set watch.voxel_um",
    )
