"""Spread of one batch: which patches are still free, with no two that overlap or show the same, and a share from each volume."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from alcore.index import NEAR_DUPLICATE
from alcore.selection.port import Float32, Mask, Pool, Positions
from alcore.types import PoolPosition


class Room:
    """The free patches of a pool while one batch is chosen.

    free: (N,) bool, what may be chosen next. taken: what was chosen so far, in order. copies, capped: how many were free until
    a patch that shows the same was taken, or until their volume had its share.
    """

    def __init__(self, pool: Pool, eligible: Mask, most_per_volume: int | None = None, spread: bool = True) -> None:
        """most_per_volume: patches that one volume may have in this batch (None: any number). spread: overlap and copies count."""
        self.free = eligible.copy()
        self.taken: list[PoolPosition] = []
        self.copies = self.capped = 0
        self._among: tuple[Positions, Float32] | None = None
        self._pool, self._most, self._spread = pool, most_per_volume, spread
        self._counts: Counter[int] = Counter()
        self._places = Places(pool)

    def open(self) -> Positions:
        """Free positions, ascending."""
        return np.flatnonzero(self.free)

    def take(self, position: PoolPosition) -> None:
        """Choose a free patch: it, what overlaps it or shows the same, and the rest of a volume that has its share, are taken out.

        Raises ValueError for one that is not free.
        """
        if not self.free[position]:
            raise ValueError(f"position {position} is not free")
        self.taken.append(position)
        self.free[position] = False
        if self._spread:
            self.free[self._places.overlapping(position)] = False
            self.copies += self._close(self._showing_the_same(position))
        volume = int(self._pool.volume[position])
        self._counts[volume] += 1
        if self._most is not None and self._counts[volume] >= self._most:
            self.capped += self._close(self._places.of_volume(volume))

    def _showing_the_same(self, position: PoolPosition) -> Positions:
        """Positions within `NEAR_DUPLICATE` of this one. The rows that were free at first are gathered once: a product per pick."""
        if self._among is None:
            rows = self.open()
            self._among = rows, self._pool.embeddings[rows]
        rows, embeddings = self._among
        return rows[embeddings @ self._pool.embeddings[position] >= 1 - NEAR_DUPLICATE]

    def _close(self, positions: Positions) -> int:
        """These are free no longer; returns how many of them were."""
        n = int(self.free[positions].sum())
        self.free[positions] = False
        return n


class Places:
    """Where the patches of a pool lie, by volume."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._order = np.argsort(pool.volume, kind="stable")
        self._sorted = pool.volume[self._order]

    def of_volume(self, volume: int) -> Positions:
        """Positions of all patches of one volume."""
        begin, end = np.searchsorted(self._sorted, [volume, volume + 1])
        return self._order[begin:end]

    def overlapping(self, position: int) -> Positions:
        """Positions of all patches that share a voxel with this one, itself included."""
        rows = self.of_volume(int(self._pool.volume[position]))
        start, stop = self._pool.start[position], self._pool.start[position] + self._pool.shape[position]
        starts = self._pool.start[rows]
        meet = ((starts < stop) & (start < starts + self._pool.shape[rows])).all(axis=1)
        return rows[meet]


def overlapping_any(pool: Pool, positions: Positions) -> Mask:
    """(N,) bool: patches that share a voxel with one of `positions`, which are among them."""
    places, mask = Places(pool), np.zeros(len(pool), bool)
    for position in positions:
        mask[places.overlapping(int(position))] = True
    return mask


def most_per_volume(pool: Pool, eligible: Mask, n: int, share: float) -> int | None:
    """How many of `n` patches one volume may have: its share rounded up; None where only one volume has any."""
    volumes = pool.volume[eligible]
    if share >= 1 or not len(volumes) or (volumes == volumes[0]).all():
        return None
    return max(1, math.ceil(n * share - 1e-9))
