"""How unsure a two-class model is, of a volume and of each of its patches, from logits that come piece by piece."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from alcore.types import Box

Float32 = npt.NDArray[np.float32]

LARGEST_LOGIT = 16.0
"""Beyond it the entropy is below 3e-6 and counts as that of the largest."""
STEPS_PER_LOGIT = 4096
"""Entropies come from a table this fine: off by less than 1e-4 for a voxel, and several times faster than logarithms."""
ONE = 1 << 20
"""Entropies are summed as whole multiples of 1 / ONE: the sum does not depend on the order of the pieces."""
PIECE_VOXELS = 1 << 16
"""Voxels looked at together: a bound on the memory beside the logits, and little enough for the cache of a processor."""


def entropy_of(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Predictive entropy, in nats / ln 2 so that it lies in 0..1, of logits (foreground minus background) of two classes."""
    size = np.abs(logits.astype(np.float64))
    tail = np.exp(-size)
    return (np.log1p(tail) + size * tail / (1 + tail)) / math.log(2)


def entropy_bytes(logits: Float32) -> npt.NDArray[np.uint8]:
    """Entropy of each voxel as a number of 0..255, 255 where the model has no idea."""
    size = np.fmin(np.abs(logits), np.float32(LARGEST_LOGIT)) * np.float32(STEPS_PER_LOGIT)
    found: npt.NDArray[np.uint8] = _bytes()[size.astype(np.int32)]
    return found


@cache
def _bytes() -> npt.NDArray[np.uint8]:
    return np.rint(255 * entropy_of(_middles())).astype(np.uint8)


def _middles() -> npt.NDArray[np.float64]:
    """Logits in the middle of each entry of a table."""
    return (np.arange(round(LARGEST_LOGIT * STEPS_PER_LOGIT) + 1) + 0.5) / STEPS_PER_LOGIT


class PatchEntropy:
    """Mean entropy over the voxels predicted foreground and over those predicted background, apart (class-stratified).

    Rare structures would be drowned by background in a mean over all voxels (Lüth et al. 2025). A voxel is predicted
    foreground where its logit is above zero. Patches may overlap: each counts all its voxels. Memory: the table, some
    bytes per patch and one piece.
    """

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._starts = np.array([b.start for b in boxes], np.int64).reshape(-1, 3)
        self._stops = np.array([b.stop for b in boxes], np.int64).reshape(-1, 3)
        self._table = np.rint(entropy_of(_middles()) * ONE).astype(np.int32)
        self._sums = np.zeros((len(boxes) + 1, 2), np.int64)  # the last row is the volume
        self._counts = np.zeros((len(boxes) + 1, 2), np.int64)

    def add(self, box: Box, logits: Float32) -> None:
        """Take the logits (z, y, x) of a box into account; the boxes of all calls cover the volume once."""
        rows = max(1, PIECE_VOXELS // logits.shape[2])
        for plane in range(logits.shape[0]):
            for top in range(0, logits.shape[1], rows):
                piece = logits[plane, top : top + rows]
                self._add((box.start[0] + plane, box.start[1] + top, box.start[2]), piece)

    def _add(self, start: tuple[int, int, int], logits: Float32) -> None:
        size = np.fmin(np.abs(logits), np.float32(LARGEST_LOGIT))
        size *= STEPS_PER_LOGIT
        entropy = self._table[size.astype(np.int32)]
        foreground = logits > 0
        in_foreground = entropy * foreground
        first = np.array(start)
        last = first + np.array((1, *logits.shape))
        reached = np.flatnonzero(((self._starts < last) & (self._stops > first)).all(axis=1))
        self._count(-1, entropy, in_foreground, foreground)
        for patch in reached:
            low = np.maximum(self._starts[patch] - first, 0)[1:]
            high = (np.minimum(self._stops[patch], last) - first)[1:]
            part = (slice(low[0], high[0]), slice(low[1], high[1]))
            self._count(int(patch), entropy[part], in_foreground[part], foreground[part])

    def _count(
        self,
        row: int,
        entropy: npt.NDArray[np.int32],
        in_foreground: npt.NDArray[np.int32],
        foreground: npt.NDArray[np.bool_],
    ) -> None:
        inside, n = int(in_foreground.sum(dtype=np.int64)), int(np.count_nonzero(foreground))
        self._sums[row] += (int(entropy.sum(dtype=np.int64)) - inside, inside)
        self._counts[row] += (foreground.size - n, n)

    def state(self) -> dict[str, npt.NDArray[np.int64]]:
        """What was added up so far, for a checkpoint."""
        return {"sums": self._sums.copy(), "counts": self._counts.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Go on from what `state` gave, as if nothing had been added since."""
        self._sums[:], self._counts[:] = state["sums"], state["counts"]

    def patches(self) -> dict[str, Float32]:
        """entropy_bg and entropy_fg, (N,) float32 in 0..1 in the order of the boxes; NaN where no voxel is such."""
        means = self._means()[:-1].astype(np.float32)
        return {"entropy_bg": means[:, 0], "entropy_fg": means[:, 1]}

    def volume(self) -> dict[str, float | None]:
        """entropy_bg and entropy_fg of everything that came, each voxel once; None where no voxel is such."""
        background, foreground = (None if np.isnan(v) else round(float(v), 6) for v in self._means()[-1])
        return {"entropy_bg": background, "entropy_fg": foreground}

    def _means(self) -> npt.NDArray[np.float64]:
        unknown = np.full(self._sums.shape, np.nan)
        return np.divide(self._sums / ONE, self._counts, out=unknown, where=self._counts > 0)
