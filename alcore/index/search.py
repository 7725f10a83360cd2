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


class Searcher:
    """Inner-product search over parts (N_i, D) of a pool, numbered one after the other. Nothing is copied on the CPU."""

    def __init__(self, parts: Sequence[Float32], device: str) -> None:
        import faiss

        self._faiss: Any = faiss
        self._parts = [part for part in parts if len(part)]
        self.n = sum(len(part) for part in self._parts)
        self._gpu: Any = None
        if device == "cuda" and faiss.get_num_gpus() > 0 and self.n:
            self._gpu = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), self._parts[0].shape[1])
            for part in self._parts:
                self._gpu.add(np.ascontiguousarray(part))

    def nearest(self, queries: Float32, k: int) -> tuple[Float32, Ids]:
        """(Q, min(k, n)) inner products, descending, and the numbers of the rows they are with; on ties the lower number."""
        k = min(k, self.n)
        if k < 1 or not len(queries):
            return np.empty((len(queries), max(0, k)), np.float32), np.empty((len(queries), max(0, k)), np.int64)
        queries = np.ascontiguousarray(queries, np.float32)
        if self._gpu is not None:
            found: tuple[Float32, Ids] = self._gpu.search(queries, k)
            return found
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
        all_products, all_numbers = np.concatenate(products, axis=1), np.concatenate(numbers, axis=1)
        order = np.lexsort((all_numbers, -all_products), axis=1)[:, :k]
        return np.take_along_axis(all_products, order, axis=1), np.take_along_axis(all_numbers, order, axis=1)
