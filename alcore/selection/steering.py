"""What people said when they skipped a patch, carried over to the patches that look like it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from alcore.index import NEAR_DUPLICATE
from alcore.selection.coverage import BLOCK
from alcore.selection.port import Flaw, Float32, Pool, Positions
from alcore.types import PoolPosition

ALIKE = 0.25
"""Two patches look alike when their cosine distance is below this share of the mean distance between any two of the pool. (The
median says nothing where half of the pool shows one thing.)"""
MOST = 0.05
"""Share of the patches looked at that one skipped patch can hold back, the most similar: one person's word about one patch."""


def alike(pool: Pool) -> float:
    """The cosine distance below which two patches of this pool look alike; at least that of near-duplicates."""
    middle = pool.embeddings.mean(axis=0, dtype=np.float64)
    return max(NEAR_DUPLICATE, ALIKE * (1 - float(middle @ middle)))  # the mean over all pairs, of unit rows


def like_avoided(pool: Pool, positions: Positions, avoid: Positions, labelled: Positions, near: float) -> list[Flaw]:
    """Those of `positions` that look like a patch skipped as an artefact or out of focus, and less like any labelled one.

    near: see `alike`. The score is how many times nearer than that the patch is, at least 1.
    """
    found: dict[int, Flaw] = {}
    if not len(avoid) or not len(positions):
        return []
    good = _nearest(pool.embeddings[positions], pool.embeddings[labelled])
    for skipped in avoid:
        distance = _nearest(pool.embeddings[positions], pool.embeddings[[skipped]])
        hit = np.flatnonzero((distance <= near) & (distance < good))
        hit = hit[np.argsort(distance[hit], kind="stable")][: math.ceil(MOST * len(positions))]
        for i in hit:
            score = near / max(float(distance[i]), NEAR_DUPLICATE, near / 100)
            position = int(positions[i])
            if position not in found or score > found[position].score:
                words = f"looks like a patch that somebody skipped as broken: {distance[i]:.3f} away in cosine distance"
                found[position] = Flaw(PoolPosition(position), words, max(1.0, score))
    return sorted(found.values(), key=lambda flaw: (-flaw.score, flaw.position))


def dulled(pool: Pool, nothing: Positions, near: float) -> Pool:
    """The pool in which patches like one with nothing to label count as holding less to learn from.

    What is expected in them is multiplied by 1 - exp(-(d / near)^2) with d the cosine distance to the nearest such patch: 0
    beside it, more than half from `near` on, all at twice that.
    """
    if not len(nothing):
        return pool
    distance = _nearest(pool.embeddings, pool.embeddings[nothing])
    return replace(pool, worth=(1 - np.exp(-((distance / near) ** 2))).astype(np.float32))


def _nearest(rows: Float32, others: Float32) -> npt.NDArray[np.float64]:
    """(n,) cosine distance of each row to the nearest of the others, infinite where there are none."""
    found = np.full(len(rows), np.inf)
    if len(others):
        for begin in range(0, len(rows), BLOCK):
            part = (rows[begin : begin + BLOCK] @ others.T).max(axis=1).astype(np.float64)
            found[begin : begin + BLOCK] = np.maximum(0.0, 1 - part)
    return found
