"""Exact search for the most similar rows of a pool with faiss, over its rows where they lie, or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

BLAS_FROM = 1
"""Queries from which faiss multiplies matrices; its own default of 20 leaves small batches to a loop five times slower."""


MOST_ON_GPU = 2048
"""Neighbours that faiss finds on a GPU; more are looked for on the CPU."""


class Searcher:
    """Inner-product search over parts (N_i, D) of a pool, numbered one after the other. Nothing is copied on the CPU.

    device "cuda": on the GPU, if faiss sees one and the pool has room there; the answers are the same up to rounding.
    """

    def __init__(self, parts: Sequence[Float32], device: str) -> None:
        import faiss

        self._faiss: Any = faiss
        self._parts: list[Float32] = []
        self.n = 0
        self._gpu: Any = None
        self._wants_gpu = device == "cuda" and faiss.get_num_gpus() > 0
        for part in parts:
            self.append(part)

    @property
    def on_gpu(self) -> bool:
        """Is the pool on a GPU?"""
        return self._gpu is not None

    def append(self, part: Float32) -> None:
        """More rows (N, D) at the end."""
        if not len(part):
            return
        self._parts.append(part)
        self.n += len(part)
        if not self._wants_gpu:
            return
        try:
            if self._gpu is None:
                self._gpu = self._faiss.GpuIndexFlatIP(self._faiss.StandardGpuResources(), part.shape[1])
            self._gpu.add(np.ascontiguousarray(part))
        except RuntimeError:  # faiss says so of a GPU without room: then as without one
            self._gpu, self._wants_gpu = None, False

    def nearest(self, queries: Float32, k: int) -> tuple[Float32, Ids]:
        """(Q, min(k, n)) inner products, descending, and the numbers of the rows they are with; on ties the lower number."""
        k = min(k, self.n)
        if k < 1 or not len(queries):
            return np.empty((len(queries), max(0, k)), np.float32), np.empty((len(queries), max(0, k)), np.int64)
        queries = np.ascontiguousarray(queries, np.float32)
        if self._gpu is not None and k <= MOST_ON_GPU:
            products, numbers = self._gpu.search(queries, k)
        else:
            products, numbers = self._on_cpu(queries, k)
        order = np.lexsort((numbers, -products), axis=1)[:, :k]
        return np.take_along_axis(products, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def _on_cpu(self, queries: Float32, k: int) -> tuple[Float32, Ids]:
        """The `k` best of each part, side by side."""
        products, numbers, first = [], [], 0
        before = self._faiss.cvar.distance_compute_blas_threshold
        self._faiss.cvar.distance_compute_blas_threshold = BLAS_FROM
        try:
            for part in self._parts:
                values, at = self._faiss.knn(queries, part, min(k, len(part)), metric=self._faiss.METRIC_INNER_PRODUCT)
                products.append(values)
                numbers.append(at + first)
                first += len(part)
        finally:
            self._faiss.cvar.distance_compute_blas_threshold = before
        return np.concatenate(products, axis=1), np.concatenate(numbers, axis=1)
