"""Other ways to pick by the same rule, as people write them, each with its distance evaluations counted.

Every one yields its picks one after the other, after the same seeds, so that slow ones can be stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.coreset.compiled import estimate, n_threads, share_out, slices
from alcore.coreset.kernels import exact_dot

Float32 = npt.NDArray[np.float32]
Picks = Iterator[tuple[int, int]]
"""(position, distances evaluated so far)."""


def triple_loop(rows: Float32, seeds: list[int]) -> Picks:
    """The authors' rule as they wrote it: the whole distance matrix, and for every pick a loop over candidates and chosen."""
    distances = (1 - rows @ rows.T).tolist()
    chosen, evaluated = list(seeds), len(rows) ** 2
    while True:
        best, farthest = -1, -1.0
        for i in range(len(rows)):
            if i in chosen:
                continue
            nearest = float("inf")
            for j in chosen:
                if distances[i][j] < nearest:
                    nearest = distances[i][j]
            if nearest > farthest:
                best, farthest = i, nearest
        chosen.append(best)
        yield best, evaluated


def numpy_running(rows: Float32, seeds: list[int]) -> Picks:
    """A running maximum of similarity: one product of the pool with each new centre."""
    nearest = (rows @ rows[seeds].T).max(axis=1)
    evaluated = len(rows) * len(seeds)
    nearest[seeds] = np.inf
    while True:
        best = int(nearest.argmin())
        yield best, evaluated
        np.maximum(nearest, rows @ rows[best], out=nearest)
        nearest[best] = np.inf
        evaluated += len(rows)


def torch_running(rows: Float32, seeds: list[int], device: str = "cpu") -> Picks:
    """The same with torch."""
    import torch

    on = torch.from_numpy(rows).to(device)
    nearest = (on @ on[seeds].T).amax(dim=1)
    evaluated = len(rows) * len(seeds)
    nearest[seeds] = torch.inf
    while True:
        best = int(nearest.argmin())
        yield best, evaluated
        torch.maximum(nearest, on @ on[best], out=nearest)
        nearest[best] = torch.inf
        evaluated += len(rows)


def sklearn_style(rows: Float32, seeds: list[int]) -> Picks:
    """A running minimum by `pairwise_distances(..., metric="cosine")`, as in the k-center baselines built on scikit-learn."""
    from sklearn.metrics import pairwise_distances

    nearest: Any = pairwise_distances(rows, rows[seeds], metric="cosine").min(axis=1)
    evaluated = len(rows) * len(seeds)
    nearest[seeds] = -np.inf
    while True:
        best = int(nearest.argmax())
        yield best, evaluated
        nearest = np.minimum(nearest, pairwise_distances(rows, rows[[best]], metric="cosine")[:, 0])
        nearest[best] = -np.inf
        evaluated += len(rows)


@estimate
def _raise(rows: Any, centre: Any, nearest: Any) -> None:
    lanes = np.empty(32)
    for i in range(rows.shape[0]):
        nearest[i] = max(nearest[i], exact_dot(rows[i], centre, lanes))


def brute_force(rows: Float32, seeds: list[int]) -> Picks:
    """Every product in float64, in the fixed order that says what is exact; ties to the lowest position. The reference."""
    nearest = np.full(len(rows), -np.inf)

    def cover(position: int) -> None:
        share_out(lambda p: _raise(rows[p], rows[position], nearest[p]), slices(len(rows), 8192), n_threads())

    for seed in seeds:
        cover(seed)
    nearest[seeds] = np.inf
    evaluated = len(rows) * len(seeds)
    while True:
        best = int(nearest.argmin())
        yield best, evaluated
        cover(best)
        nearest[best] = np.inf
        evaluated += len(rows)


PEERS = {
    "numpy running maximum": numpy_running,
    "torch running maximum": torch_running,
    "scikit-learn style": sklearn_style,
}
