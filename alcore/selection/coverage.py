"""Generalised coverage: how well the chosen patches stand for the whole pool, and what each further one would add.

Source: Bae, Noh, Sutherland 2024 (ECCV, "Generalized Coverage for More Robust Low-Budget Active Learning"), Sec. 3:
C(S) = E_x [ max over s in S of k(x, s) ]; MaxHerding takes greedily the s that increases it most.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alcore.selection.port import Float32, Pool, Positions

CANDIDATES = 4096
"""At most so many free patches are looked at for one batch: a uniform draw from a larger pool."""
REFERENCE = 2048
"""At most so many patches, a uniform draw, stand for the pool in the expectation."""
PAIRS = 100_000
"""Pairs of reference patches whose median distance gives the bandwidth."""
BLOCK = 1024


class Coverage:
    """The coverage of reference rows by what is covered, and the gain of each of some candidates.

    k(x, y) = exp(-|x - y|^2 / bandwidth). All reference rows count alike.
    Memory: candidates x reference float32, 32 MB at the bounds above.
    """

    def __init__(self, candidates: Float32, reference: Float32, bandwidth: float) -> None:
        self._weights = np.full(len(reference), 1 / max(len(reference), 1), np.float32)
        self._reference, self._bandwidth = reference, bandwidth
        self._kernel = kernel(candidates, reference, bandwidth)
        self.best = np.zeros(len(reference), np.float32)
        """(M,) largest kernel value of each reference row with anything covered."""

    def cover(self, rows: Float32) -> None:
        """Take these embeddings (n, D) into account as covered."""
        for begin in range(0, len(rows), BLOCK):
            found = kernel(rows[begin : begin + BLOCK], self._reference, self._bandwidth)
            np.maximum(self.best, found.max(axis=0), out=self.best)

    def gains(self, alive: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """What covering each of these candidates (their numbers) would add to the coverage, which is at most 1."""
        gains = np.empty(len(alive))
        for begin in range(0, len(alive), BLOCK):
            part = self._kernel[alive[begin : begin + BLOCK]]
            gains[begin : begin + BLOCK] = np.maximum(part - self.best, 0) @ self._weights
        return gains

    def density(self) -> npt.NDArray[np.float64]:
        """(C,) mean kernel value of each candidate: how typical it is."""
        return (self._kernel @ self._weights).astype(np.float64)


def kernel(a: Float32, b: Float32, bandwidth: float) -> Float32:
    """(len(a), len(b)) exp(-|x - y|^2 / bandwidth) of unit rows."""
    found: Float32 = a @ b.T
    found *= -2  # in place: each copy of a matrix of this size takes as long as the product
    found += 2
    np.maximum(found, 0, out=found)
    found /= np.float32(-bandwidth)
    return np.exp(found, out=found)


def bandwidth(reference: Float32, rng: np.random.Generator) -> float:
    """Half the median squared distance of random pairs of different rows: 1, as in the paper, where rows are orthogonal.

    The paper's fixed 1 suits features spread over the sphere; those of a masked autoencoder may all lie close together.
    Never below 1e-6, which is what equal rows get.
    """
    n = len(reference)
    if n < 2:
        return 1.0
    first = rng.integers(n, size=min(PAIRS, n * n))
    second = (first + rng.integers(1, n, size=len(first))) % n
    squared = np.empty(len(first), np.float32)
    for begin in range(0, len(first), BLOCK):  # few at a time: copies of all rows would take longer than the products
        one, other = reference[first[begin : begin + BLOCK]], reference[second[begin : begin + BLOCK]]
        squared[begin : begin + BLOCK] = 2 - 2 * np.einsum("nd,nd->n", one, other)
    return max(float(np.median(squared)) / 2, 1e-6)


def some(positions: Positions, most: int, rng: np.random.Generator) -> Positions:
    """At most `most` of these positions, uniformly drawn, ascending."""
    if len(positions) <= most:
        return positions
    return np.sort(rng.choice(positions, size=most, replace=False))


def begun(
    pool: Pool, free: Positions, everything: Positions, covered: Positions, rng: np.random.Generator
) -> tuple[Positions, Coverage]:
    """Candidates among the free positions, and the coverage of the pool by what is covered: both by bounded draws."""
    candidates = some(free, CANDIDATES, rng)
    reference = pool.embeddings[some(everything, REFERENCE, rng)]
    state = Coverage(pool.embeddings[candidates], reference, bandwidth(reference, rng))
    state.cover(pool.embeddings[covered])
    return candidates, state
