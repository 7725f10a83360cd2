"""A training case: a patch with its instances, identified by content and loaded only when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Case:
    """One patch for training.

    key: identity of the content (artifact keys and box); equal keys must mean equal voxels.
    spacing: (z, y, x), any unit, the same for all cases. load: image (C, Z, Y, X) float32, normalised with the
    statistics of its whole volume, and instances (Z, Y, X), 0 = background, any integer dtype.
    """

    key: str
    spacing: tuple[float, float, float]
    load: Callable[[], Arrays]

    @property
    def id(self) -> str:
        """Name of the case in nnU-Net's folders."""
        return f"case_{hashlib.sha256(self.key.encode()).hexdigest()[:20]}"
