"""What the annotator takes for embeddings: slices, or tiles of slices, that are computed when somebody first prompts on them.

So the window opens at once whatever the encoder costs, and only what is used is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.annotate.tiles import EDGE, HALO, TILE, tiles_of

Feature = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


class Features:
    """Looks like the array of embeddings that micro_sam takes.

    ndim: 5 for a stack, 4 for a single slice. before: is told of a slice that takes its time; after, when it is there. attrs: what
    micro_sam asks a tile for.
    """

    def __init__(
        self,
        n: int,
        stored: npt.NDArray[np.float32] | None,
        compute: Callable[[int], Feature],
        before: Callable[[int], None],
        after: Callable[[int], None],
    ) -> None:
        self.ndim = 5 if n > 1 else 4
        self.shape = (n, 1, 256, 64, 64) if n > 1 else (1, 256, 64, 64)
        self.attrs: dict[str, Any] = {}
        self._stored, self._compute, self._before, self._after = stored, compute, before, after
        self._known: dict[int, Feature] = {}

    def __getitem__(self, index: int | slice) -> Feature:
        """(1, 256, 64, 64) of a slice; [:] of the only one."""
        z = 0 if isinstance(index, slice) else int(index)
        if self._stored is not None:
            return np.array(self._stored[z])
        if z not in self._known:
            self._before(z)
            self._known[z] = self._compute(z)
            self._after(z)
        return self._known[z].copy()


class TiledFeatures:
    """Looks like the group of tiled embeddings that micro_sam takes: one `Features` per tile, by its number as text."""

    def __init__(self, shape: tuple[int, int], parts: list[Features]) -> None:
        self.attrs = {"shape": shape, "tile_shape": (TILE, TILE), "halo": (HALO, HALO)}
        self._parts = {str(number): part for number, part in enumerate(parts)}

    def __getitem__(self, name: str) -> Features:
        return self._parts[name]


def parts_of(planes: Pictures) -> list[Pictures]:
    """What the encoder looks at, one after the other: the pictures (Z, Y, X), or each tile of them where they are wide."""
    _, height, width = planes.shape
    return [planes[:, rows, columns] for rows, columns in tiles_of(height, width)] or [planes]


def embeddings_for(
    planes: Pictures,
    stored: npt.NDArray[np.float32] | None,
    compute: Callable[[npt.NDArray[np.uint8]], Feature],
    before: Callable[[int], None],
    after: Callable[[int], None],
) -> dict[str, Any]:
    """What `annotator_3d` takes as precomputed embeddings of pictures (Z, Y, X). stored: of every part (`parts_of`) every slice,
    (parts * Z, 1, 256, 64, 64), or None: then compute says that of one picture (Y, X)."""
    n, height, width = planes.shape
    parts = []
    for number, part in enumerate(views := parts_of(planes)):
        known = None if stored is None else stored[number * n : (number + 1) * n]
        parts.append(Features(n, known, lambda z, part=part: compute(part[z]), before, after))  # type: ignore[misc]
        parts[-1].attrs = _sizes(*part.shape[1:])
    if len(views) == 1:
        return {"features": parts[0], **_sizes(height, width)}
    return {"features": TiledFeatures((height, width), parts), "original_size": None, "input_size": None}


def _sizes(height: int, width: int) -> dict[str, tuple[int, int]]:
    """The size of a picture, and that at which the encoder sees it."""
    scale = EDGE / max(height, width)
    return {
        "original_size": (height, width),
        "input_size": (int(height * scale + 0.5), int(width * scale + 0.5)),
    }
