"""Pools for the tests of selection: clustered or uniform embeddings, patches in rows, several volumes."""

from __future__ import annotations

import numpy as np

from alcore.selection import Pool


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, rng: np.random.Generator, dim: int = 12, groups: int = 4) -> np.ndarray:
    return unit(rng.normal(size=(n, dim)) + 3 * rng.normal(size=(groups, dim))[rng.integers(0, groups, n)])


def pool_of(
    embeddings: np.ndarray,
    volumes: int = 1,
    overlap: bool = False,
    flat: np.ndarray | None = None,
    **traits: np.ndarray,
) -> Pool:
    """Patches of 8 x 32 x 32 side by side along x, dealt out to the volumes in runs; with `overlap` every next one begins
    20 voxels after the one before, so that neighbours overlap."""
    n = len(embeddings)
    volume = np.arange(n) * volumes // max(n, 1)
    start = np.zeros((n, 3), np.int64)
    for v in range(volumes):
        inside = np.flatnonzero(volume == v)
        start[inside, 2] = np.arange(len(inside)) * (20 if overlap else 32)
    shape = np.tile(np.array([8, 32, 32]), (n, 1))
    return Pool(embeddings, volume, start, shape, {k: v.astype(np.float32) for k, v in traits.items()}, flat)
