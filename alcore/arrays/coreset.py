"""Greedy core-set: farthest-first traversal (k-center) of unit embeddings in cosine distance, decided exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.types import PoolPosition

FLOAT64_POOL = 5000
"""Up to this many embeddings the filter itself runs in float64: nearly no ties to re-evaluate, and still in cache."""
BLOCK_VALUES = 1 << 23
"""Largest temporary array, in values."""
ROWS = 4096
"""Rows looked at together where all have to be."""
NORM_TOLERANCE = 1e-3
LANES = 32
"""Interleaved sums of `fixed_order_dot`: part of what "exact" means here."""


@dataclass(frozen=True)
class Pick:
    """One selected embedding.

    distance: cosine distance to `nearest`, its nearest covered or earlier picked embedding; both None when there was
    none. random: a random seed instead of the farthest embedding.
    """

    position: PoolPosition
    distance: float | None
    nearest: PoolPosition | None
    random: bool


def farthest_first(
    embeddings: npt.NDArray[np.float32],
    k: int,
    covered: Sequence[PoolPosition],
    rng: np.random.Generator,
    initial: int = 3,
) -> list[Pick]:
    """Select up to `k` of the (N, D) float32 unit rows so that none stays far from a selected one.

    This is the core-set of Zhao et al. 2025, Sec. 2.

    Continues from the `covered` positions, which are never picked again. When nothing is covered, the first
    min(initial, k) picks (at least one) are drawn by `rng`; every other pick is the embedding whose nearest covered or
    picked one is farthest in d = 1 - e.e' (Gonzalez 1985). Fewer than k are returned when the pool runs out.

    The result does not depend on the BLAS, the threads or the pool size: which row is farthest is decided on float64
    dot products added up in one fixed order, exact ties going to the lowest position. Faster arithmetic only filters;
    its worst-case rounding error decides which rows have to be evaluated exactly.
    Raises ValueError for embeddings that are not finite, or positions outside the pool.
    """
    search = _Search(embeddings, covered)
    n_free = len(embeddings) - len(set(covered))
    n_picks = max(0, min(k, n_free))
    picks: list[Pick] = []
    if not covered and n_picks:
        for position in rng.choice(len(embeddings), size=min(max(initial, 1), n_picks), replace=False):
            picks.append(search.take(int(position), random=True))
    while len(picks) < n_picks:
        picks.append(search.take(search.farthest(), random=False))
    return picks


class _Search:
    """State of one traversal: a filtered similarity of every row, and the exact one of those that needed it."""

    def __init__(
        self,
        embeddings: npt.NDArray[np.float32],
        covered: Sequence[PoolPosition],
    ) -> None:
        if embeddings.ndim != 2 or embeddings.dtype != np.float32:
            raise ValueError(f"embeddings must be (N, D) float32, got {embeddings.shape} {embeddings.dtype}")
        n, dim = embeddings.shape
        norms = np.einsum("nd,nd->n", embeddings, embeddings)
        if not np.isfinite(norms).all():
            raise ValueError(f"the embedding at position {int(np.flatnonzero(~np.isfinite(norms))[0])} is not finite")
        if any(not 0 <= c < n for c in covered):
            raise ValueError(f"covered positions must be in 0..{n - 1}")
        self.rows = embeddings
        self.centres = np.array(list(dict.fromkeys(covered)), np.int64)
        wide = n <= FLOAT64_POOL
        self.fast = embeddings.astype(np.float64) if wide else embeddings
        # |fast - exact| of one dot product: (D + 16) roundings of terms whose absolute sum is at most |x||y|
        unit = (2.0**-53 if wide else 2.0**-24) + 2.0**-53
        self.eps = (dim + 16) * unit * 1.001 * float(norms.max(initial=1.0))
        self.key = np.full(n, -np.inf, self.fast.dtype)
        if len(self.centres):
            self.key[:] = self._largest()
        self.key[self.centres] = np.inf
        self.exact = np.full(n, -np.inf)
        self.witness = np.full(n, -1, np.int64)
        self.seen = np.zeros(n, np.int64)
        """How many of the centres `exact` and `witness` account for."""

    def _largest(self) -> npt.NDArray[np.floating]:
        """(N,) largest filtered similarity to any centre."""
        centres = self.fast[self.centres]
        step = max(1, BLOCK_VALUES // len(centres))
        return np.concatenate(
            [(self.fast[i : i + step] @ centres.T).max(axis=1) for i in range(0, len(self.fast), step)]
        )

    def farthest(self) -> int:
        """The free position with the smallest exact similarity to its nearest centre; the lowest one on ties."""
        limit = self.key.dtype.type(float(self.key.min()) + 2 * self.eps)
        candidates = np.flatnonzero(self.key <= np.nextafter(limit, np.inf, dtype=self.key.dtype))
        if len(candidates) > 1:
            self._evaluate(candidates)
        return int(candidates[np.argmin(self.exact[candidates])])

    def take(self, position: int, random: bool) -> Pick:
        """Make `position` a centre; what it was like before is the Pick."""
        self._evaluate(np.array([position]))
        nearest = int(self.witness[position])
        pick = Pick(
            position=PoolPosition(position),
            distance=None if nearest < 0 else 1.0 - float(self.exact[position]),
            nearest=None if nearest < 0 else PoolPosition(nearest),
            random=random,
        )
        np.maximum(self.key, self.fast @ self.fast[position], out=self.key)
        self.centres = np.append(self.centres, position)
        self.key[position] = np.inf
        return pick

    def _evaluate(self, positions: npt.NDArray[np.int64]) -> None:
        """Bring `exact` and `witness` of these rows up to date with all centres."""
        for begin in np.unique(self.seen[positions]):
            centres = self.centres[begin:]
            if not len(centres):
                continue
            group = positions[self.seen[positions] == begin]
            step = max(1, BLOCK_VALUES // (len(centres) * self.rows.shape[1]))
            for i in range(0, len(group), step):
                part = group[i : i + step]
                found = fixed_order_dot(self.rows[part], self.rows[centres])
                best = found.argmax(axis=1)
                value = found[np.arange(len(part)), best]
                better = value > self.exact[part]
                self.exact[part[better]] = value[better]
                self.witness[part[better]] = centres[best[better]]
        self.seen[positions] = len(self.centres)


def fixed_order_dot(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(len(a), len(b)) float64 inner products of float32 rows whose rounding depends on the two rows only.

    A product of two float32 is exact in float64. They are added up in LANES interleaved sums, which are then added in halves:
    an order that the compiled `alcore.coreset` can keep at full speed. A BLAS keeps none, as its kernels treat the last
    rows of a matrix differently, which would break ties between equal rows.
    """
    products = a[:, None, :].astype(np.float64) * b[None, :, :].astype(np.float64)
    lanes = np.zeros((len(a), len(b), LANES))
    for i in range(0, a.shape[1], LANES):
        part = products[:, :, i : i + LANES]
        lanes[:, :, : part.shape[2]] += part
    width = LANES // 2
    while width:
        lanes = lanes[:, :, :width] + lanes[:, :, width : 2 * width]
        width //= 2
    return lanes[:, :, 0]


def first_unusable(rows: npt.NDArray[np.float32]) -> int | None:
    """The first row that is not finite and of length one (to NORM_TOLERANCE), or None."""
    for begin in range(0, len(rows), ROWS):
        part = rows[begin : begin + ROWS]
        good = np.abs(np.einsum("nd,nd->n", part, part) - 1) <= 2 * NORM_TOLERANCE
        if not good.all():
            return begin + int(np.argmin(good))
    return None
