"""A training case: a patch with its instances, identified by content and loaded only when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.types import VoxelSize

Mask = npt.NDArray[np.bool_]
Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Case:
    """One patch for training.

    key: identity of the content (artifact keys and box); equal keys must mean equal voxels.
    voxel_um: (z, y, x), None where unknown. load: image (C, Z, Y, X) float32, normalised with the
    statistics of its whole volume, and instances (Z, Y, X), 0 = background, any integer dtype. seen: the voxels
    (Z, Y, X) that somebody looked at, None = all; the others are ignored in training, and hold no instance.
    """

    key: str
    voxel_um: VoxelSize | None
    load: Callable[[], Arrays]
    seen: Callable[[], Mask] | None = None

    @property
    def id(self) -> str:
        """Name of the case in nnU-Net's folders."""
        return f"case_{hashlib.sha256(self.key.encode()).hexdigest()[:20]}"


def voxel_size(value: Sequence[float] | None) -> VoxelSize | None:
    """A voxel size (z, y, x) from JSON, None where it is null."""
    if value is None:
        return None
    z, y, x = (float(v) for v in value)
    return (z, y, x)
