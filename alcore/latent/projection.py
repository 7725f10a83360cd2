"""From embeddings to a plane that people can look at: UMAP, t-SNE for small pools, and new patches put among known ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.index import PoolIndex

Floats = npt.NDArray[np.float32]

LEAST = 15
"""Patches below which there are no neighbourhoods to keep; also the neighbours that UMAP looks at, and t-SNE's perplexity."""
SMALL = 500
"""Patches below which t-SNE draws the map in seconds; UMAP would first compile itself for up to minutes (decision 28)."""
MOST = 50_000
"""Patches that UMAP is computed of, at most. The others are put among them: minutes instead of hours."""
NEIGHBOURS = 5
"""Known patches among which one is put."""
BATCH = 4096


@dataclass(frozen=True)
class Projection:
    """xy: (N, 2) float32. method: in words, for people."""

    xy: Floats
    method: str


def project(embeddings: Floats, seed: int, device: str = "cpu", stop: Callable[[], None] = lambda: None) -> Projection:
    """Places of the (N, D) unit rows in a plane, the same for the same rows and seed.

    UMAP (McInnes, Healy, Melville 2018) with cosine distance; of a random sample where there are more than `MOST`, and the rest is
    put among it; t-SNE (van der Maaten, Hinton 2008) with cosine distance where there are fewer than `SMALL`; principal components
    where there are fewer than `LEAST`. stop: called now and then; may raise.
    """
    n = len(embeddings)
    if n < LEAST:
        return Projection(_principal(embeddings), "principal components (too few patches for neighbourhoods)")
    if n < SMALL:
        return Projection(_tsne(embeddings, seed), f"t-SNE of {n:,} patches, cosine distance")
    if n <= MOST:
        return Projection(_umap(embeddings, seed), f"UMAP of {n:,} patches, cosine distance")
    sample = np.sort(np.random.default_rng(seed).choice(n, MOST, replace=False))
    stop()
    xy = np.empty((n, 2), np.float32)
    xy[sample] = _umap(embeddings[sample], seed)
    rest = np.setdiff1d(np.arange(n), sample)
    xy[rest] = among(embeddings[sample], xy[sample], embeddings[rest], device, stop)
    method = f"UMAP of {MOST:,} of {n:,} patches, cosine distance; the others lie among those most like them"
    return Projection(xy, method)


def among(
    known: Floats, xy: Floats, new: Floats, device: str = "cpu", stop: Callable[[], None] = lambda: None
) -> Floats:
    """(M, 2) places for new rows (M, D): the mean of the `NEIGHBOURS` most similar known rows (N, D), which lie at xy (N, 2),
    weighted by the inverse of their cosine distance."""
    index = PoolIndex("", known.shape[1], device)
    index.add("known", known)
    found = np.empty((len(new), 2), np.float32)
    for begin in range(0, len(new), BATCH):
        stop()
        alike, numbers = index.nearest(np.ascontiguousarray(new[begin : begin + BATCH]), min(NEIGHBOURS, len(known)))
        weights = 1 / np.maximum(1 - alike.astype(np.float64), 1e-6)
        weights /= weights.sum(axis=1, keepdims=True)
        found[begin : begin + BATCH] = (xy[numbers] * weights[:, :, None]).sum(axis=1)
    return found


def _tsne(embeddings: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(LEAST, (len(embeddings) - 1) / 3)
    chart = TSNE(metric="cosine", perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    with threadpool_limits(1):  # more threads wait for each other longer than they work
        made = chart.fit_transform(embeddings)
    return _principal(np.asarray(made, np.float32))


def _umap(embeddings: Floats, seed: int) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a graph in pieces, and of numba's own future
        from umap import UMAP

        made = UMAP(n_neighbors=LEAST, metric="cosine", random_state=seed, n_jobs=1).fit_transform(embeddings)
    return _principal(np.asarray(made, np.float32))  # turned: the longer side lies


def _principal(embeddings: Floats) -> Floats:
    """(N, 2) principal components; signs such that the entry farthest from zero of each axis is positive."""
    found = np.zeros((len(embeddings), 2), np.float64)
    if len(embeddings) > 1:
        left, size, _ = np.linalg.svd(embeddings.astype(np.float64) - embeddings.mean(axis=0), full_matrices=False)
        for axis in range(min(2, len(size))):
            place = left[:, axis] * size[axis]
            found[:, axis] = place * (1 if place[np.abs(place).argmax()] >= 0 else -1)
    return found.astype(np.float32)
