"""Strategy typiclust: the most typical patch of every large cluster that has no label yet.

Source: Hacohen, Dekel, Weinshall 2022 (ICML, "Active Learning on a Budget"), Algorithm 1 and Sec. 3.2: as many clusters as
labels after this batch, at most 500; typicality is the inverse of the mean distance to the 20 nearest neighbours; clusters
of fewer than 5 are left out; clusters with the fewest labels first, among them the largest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alcore.selection.coverage import some
from alcore.selection.port import Choice, Float32, Pool, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition

MOST_CLUSTERS = 500
LEAST_MEMBERS = 5
NEIGHBOURS = 20
FEW_CLUSTERS = 50
"""So few are made from several beginnings, of which the best counts."""
SAMPLE = 20_000
"""At most so many free, and so many covered, patches are clustered: a uniform draw."""
CLUSTER_SAMPLE = 2_000
"""Typicality is measured among at most so many members of a cluster."""


def typiclust(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy. Clusters are made once per batch, over bounded draws of the free and of the covered patches."""
    while len(free := room.open()):
        open_rows = some(free, SAMPLE, rng)
        rows = np.concatenate([some(request.covered, SAMPLE, rng), open_rows]).astype(np.int64)
        n_covered = len(rows) - len(open_rows)
        n_clusters = min(n_covered + request.n, MOST_CLUSTERS, len(rows))
        cluster = clusters(pool.embeddings[rows], n_clusters, int(rng.integers(2**31 - 1)))
        sizes = np.bincount(cluster, minlength=n_clusters)
        labels = np.bincount(cluster[:n_covered], minlength=n_clusters)
        where = {int(position): int(c) for position, c in zip(rows, cluster, strict=True)}
        members = [open_rows[cluster[n_covered:] == c] for c in range(n_clusters)]
        seen = 0
        while room.free[open_rows].any():
            for position in room.taken[seen:]:
                if position in where:
                    labels[where[position]] += 1
            seen = len(room.taken)
            best = next_cluster(labels, sizes, [bool(room.free[m].any()) for m in members])
            inside = some(members[best], CLUSTER_SAMPLE, rng)
            if not room.free[inside].any():
                inside = members[best][room.free[members[best]]][:CLUSTER_SAMPLE]
            score = typicality(pool.embeddings[inside])
            score[~room.free[inside]] = -np.inf
            chosen = int(score.argmax())
            yield Choice(
                PoolPosition(int(inside[chosen])),
                "selected",
                f"the most typical of a group of {sizes[best]} patches, of which {labels[best]} are labelled or queued",
                {"score": float(score[chosen]), "cluster": float(sizes[best]), "cluster_labels": float(labels[best])},
            )


def next_cluster(labels: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], has_free: list[bool]) -> int:
    """The cluster to take from: the fewest labels, then the largest; small ones only when no other has a free patch."""
    usable = [c for c, free in enumerate(has_free) if free]
    large = [c for c in usable if sizes[c] >= LEAST_MEMBERS]
    return min(large or usable, key=lambda c: (labels[c], -sizes[c], c))


def clusters(rows: Float32, n_clusters: int, seed: int) -> npt.NDArray[np.int64]:
    """(N,) number of the cluster of each row, by k-means (of many clusters: in small batches, as the authors do).

    By scikit-learn and not by faiss, whose arrays cannot be read in a process that has loaded SimpleITK, as nnU-Net does.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    different = len(np.unique(rows, axis=0))
    n_clusters = min(n_clusters, different)
    if n_clusters < 2:
        return np.zeros(len(rows), np.int64)
    if n_clusters <= FEW_CLUSTERS:
        means = KMeans(n_clusters, n_init=10, max_iter=20, random_state=seed)
    else:
        means = MiniBatchKMeans(n_clusters, n_init=1, batch_size=5000, random_state=seed)
    found: npt.NDArray[np.int64] = means.fit_predict(np.asarray(rows, np.float64)).astype(np.int64)
    return found


def typicality(rows: Float32) -> npt.NDArray[np.float64]:
    """(n,) inverse mean Euclidean distance of each row to its min(20, n // 2) nearest others, at least one if there is one."""
    n = len(rows)
    if n < 2:
        return np.ones(n)
    k = max(1, min(NEIGHBOURS, n // 2))
    distance = np.sqrt(np.maximum(2 - 2 * (rows @ rows.T).astype(np.float64), 0))
    np.fill_diagonal(distance, np.inf)
    nearest = np.partition(distance, k - 1, axis=1)[:, :k]
    found: npt.NDArray[np.float64] = 1 / (nearest.mean(axis=1) + 1e-5)
    return found
