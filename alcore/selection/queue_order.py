"""In which order the suggestions that nobody has begun wait: looked at again when the pool or the labels have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alcore.selection import content
from alcore.selection.guided import EFFORT
from alcore.selection.port import Pool, Positions, Request
from alcore.types import PoolPosition

BY_DISTANCE = ("coreset", "guided")
"""Strategies whose own measure is the distance to what is covered; the order that others chose, by chance or otherwise, stays."""
STAYS = 0.8
"""What stands first keeps its place unless it is worth less than this share of the best that stands behind it."""


@dataclass(frozen=True)
class Queued:
    """A suggestion in its place. distance, nearest: cosine, to the nearest patch that is covered or stands before it, and which;
    None where there is none."""

    position: PoolPosition
    distance: float | None
    nearest: PoolPosition | None


def in_order(pool: Pool, request: Request, queue: Sequence[int], others: Positions, strategy: str) -> list[Queued]:
    """The suggestions that wait, the next one first. queue: positions in the order in which they stand; others: what is
    covered besides.

    Farthest-first (Gonzalez 1985, as the core-set of the paper goes on) among those that wait, per expected minute with the
    strategy guided; but of all that are worth at least `STAYS` of the best, the one comes next that stood first. So the order is
    a fixed point of itself, and stays so while people answer it from its front: nothing moves without a reason. With strategies
    that are not `BY_DISTANCE` only the distances are new.
    """
    positions = np.array(queue, np.int64)
    rows = pool.embeddings[positions]
    distance, nearest = np.full(len(positions), 2.0), np.full(len(positions), -1, np.int64)
    if len(others) and len(positions):
        similarity = rows @ pool.embeddings[others].T
        nearest = others[similarity.argmax(axis=1)]
        distance = np.maximum(0.0, 1 - similarity.max(axis=1).astype(np.float64))
    effort = np.ones(len(positions))
    if strategy == "guided":
        effort = np.maximum(content.minutes(pool, positions, request), 1e-6) ** EFFORT
    left = np.ones(len(positions), bool)
    found = []
    while left.any():
        worth = np.where(left, distance / effort, -1.0)
        good = left & (worth >= STAYS * worth.max()) if strategy in BY_DISTANCE else left
        chosen = int(np.flatnonzero(good)[0])
        left[chosen] = False
        known = nearest[chosen] >= 0
        found.append(
            Queued(
                PoolPosition(int(positions[chosen])),
                float(distance[chosen]) if known else None,
                PoolPosition(int(nearest[chosen])) if known else None,
            )
        )
        beside = np.maximum(0.0, 1 - (rows @ rows[chosen]).astype(np.float64))
        closer = left & (beside < distance)
        distance[closer], nearest[closer] = beside[closer], positions[chosen]
    return found
