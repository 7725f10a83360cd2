"""The core-set as it grows: the next patch to annotate, exactly, after any mixture of new patches, labels and withdrawals.

Lazy evaluation: similarity to the nearest covered row only ever rises while rows are covered, so a row is looked at again only
when its last known similarity is among the smallest (Minoux 1978). Here in batches: `pool` is every row with key <= limit, kept
exact; when it runs out, the limit rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from alcore.arrays.coreset import LANES, Pick
from alcore.coreset.bounded import Bounded
from alcore.coreset.compiled import n_threads
from alcore.coreset.dense import Dense, DenseOnDevice
from alcore.coreset.kernels import TAKEN, UNKNOWN, lowest, update_pool
from alcore.coreset.state import Float32, Float64, Ids, State, Work
from alcore.types import PoolPosition

CALIBRATION = 4096
"""Rows that are evaluated completely to find the first limit."""
CAPPED_FROM = 8
"""A limit that asks this many times as many rows is capped by what such a sample says: a quantile of lower bounds may be far above."""
POOL = 64
"""Candidates that a limit should leave: fewer make shorter rounds, and no more work in all."""


class Engine(Protocol):
    """How keys of many rows are brought up to date."""

    eps: float
    coordinates: Float32
    rest: Float32

    def added(self, begin: int, end: int) -> None: ...
    def covered(self, number: int, position: int) -> tuple[Float32, np.float32]: ...
    def renumbered(self) -> None: ...
    def refresh(self, ids: Ids, limit: float) -> None: ...


class Frontier:
    """What is covered of a pool, and which row lies farthest from it: decided on exact products, ties to the lowest position.

    Positions of rows never change; rows are removed, or embedded by another encoder, by a new Frontier.
    """

    def __init__(
        self,
        embeddings: Float32,
        covered: Sequence[PoolPosition] = (),
        engine: str = "dense",
        threads: int | None = None,
        basis: Float64 | None = None,
    ) -> None:
        """embeddings: (N, D) float32 unit rows, kept and not copied. engine: "dense", "cuda", or "bounds <m>".

        Raises ValueError for rows that are not finite and of length one, and for positions outside the pool.
        """
        self.state = State(embeddings)
        self.engine = _engine(engine, self.state, threads or n_threads(), basis)
        self.limit = UNKNOWN
        self._ids, self._keys, self._n = np.empty(0, np.int64), np.empty(0), 0
        """The pool: the first `_n` rows and exact keys."""
        self._dirty: list[Ids] = []
        """Rows outside the pool whose key may be below the limit."""
        self._reach = POOL
        self._lanes = np.empty(LANES)
        self.cover(covered)

    def __len__(self) -> int:
        return self.state.n

    @property
    def covered(self) -> list[PoolPosition]:
        """Covered positions, earliest first."""
        return [PoolPosition(p) for p in self.state.centres.number]

    @property
    def work(self) -> Work:
        """What was evaluated since the beginning."""
        return self.state.work

    def cover(self, positions: Sequence[PoolPosition]) -> None:
        """Count these rows as covered: labelled, queued or rejected. What is covered already stays as it was."""
        for position in positions:
            self._check(position)
            if position not in self.state.centres.number:
                self._cover(int(position))

    def _cover(self, position: int) -> None:
        state = self.state
        state.key[position] = TAKEN
        self._leave(self._ids[: self._n] == position)
        number = state.centres.append(position, state.row(position))
        coordinates, rest = self.engine.covered(number, position)
        self._n, bounds, exact = update_pool(
            self._ids,
            self._keys,
            self._n,
            state.base,
            state.tail,
            state.near,
            self.engine.coordinates,
            self.engine.rest,
            state.centres.rows[number],
            coordinates,
            rest,
            number,
            self.limit,
            self.engine.eps,
            state.key,
            state.resolved,
            self._lanes,
        )
        state.work.bounds += bounds
        state.work.exact += exact

    def withdraw(self, position: PoolPosition) -> None:
        """Count a row as not covered any more: it may be suggested again. Raises ValueError if it was not covered."""
        state = self.state
        if position not in state.centres.number:
            raise ValueError(f"position {position} is not covered")
        number = state.centres.drop(int(position))
        state.forget(np.array([position]))
        affected = np.flatnonzero(state.near[: state.n] == number)
        affected = affected[state.key[affected] != TAKEN]
        self._leave(state.near[self._ids[: self._n]] == number)
        state.forget(affected)
        self._dirty += [np.array([position], np.int64), affected]
        if state.centres.holes > max(64, len(state.centres) // 2):
            self._write_back()
            state.close_holes()
            self.engine.renumbered()

    def add_points(self, rows: Float32) -> range:
        """Add (M, D) rows; returns their positions."""
        begin = self.state.n
        self.state.append(rows)
        self.engine.added(begin, self.state.n)
        self._dirty.append(np.arange(begin, self.state.n))
        return range(begin, self.state.n)

    def next(self) -> Pick | None:
        """The row farthest from all covered ones, without covering it; None when every row is covered.

        Raises ValueError when nothing is covered: there is no farthest row then, and a random one has to begin.
        """
        if self.state.all_taken():
            return None
        if not self.state.centres.number:
            raise ValueError("nothing is covered yet, so no row is the farthest: cover a random one first")
        if self._dirty:
            self._settle()
        while (place := lowest(self._ids, self._keys, self._n)) < 0:
            self._round()
        return self._pick(int(self._ids[place]), float(self._keys[place]), random=False)

    def look(self, position: PoolPosition) -> Pick:
        """How far this row, not yet covered, is from all covered ones: what `next` would say of it."""
        self._check(position)
        if not self.state.centres.number:
            return Pick(PoolPosition(int(position)), None, None, random=True)
        self.engine.refresh(np.array([position], np.int64), np.inf)
        return self._pick(int(position), float(self.state.key[position]), random=True)

    def _pick(self, position: int, key: float, random: bool) -> Pick:
        nearest = self.state.centres.positions[self.state.near[position]]
        return Pick(PoolPosition(position), 1.0 - key, PoolPosition(nearest), random)

    def _check(self, position: int) -> None:
        if not 0 <= position < self.state.n:
            raise ValueError(f"position {position} is not in the pool of {self.state.n}")

    def _leave(self, gone: np.ndarray) -> None:
        """Take rows out of the pool."""
        if gone.any():
            kept = np.flatnonzero(~gone)
            self._ids[: len(kept)], self._keys[: len(kept)] = self._ids[kept], self._keys[kept]
            self._n = len(kept)

    def _enter(self, ids: Ids) -> None:
        """Rows that are up to date join the pool if they are candidates."""
        ids = ids[self.state.key[ids] <= self.limit]
        self._ids = np.concatenate([self._ids[: self._n], ids])
        self._keys = np.concatenate([self._keys[: self._n], self.state.key[ids]])
        self._n = len(self._ids)
        if self._n > 16 * POOL:
            self._trim()

    def _write_back(self) -> None:
        """Empty the pool; what it knew is kept."""
        ids = self._ids[: self._n]
        self.state.key[ids] = self._keys[: self._n]
        self.state.resolved[ids] = len(self.state.centres)
        self._n, self.limit = 0, UNKNOWN

    def _trim(self) -> None:
        """Lower the limit, so that fewer candidates have to be told of every new centre."""
        limit = float(np.partition(self._keys, POOL)[POOL])
        over = self._keys > limit
        ids = self._ids[over]
        self.state.key[ids], self.state.resolved[ids] = self._keys[over], len(self.state.centres)
        self.limit = limit
        self._leave(over)

    def _settle(self) -> None:
        """Bring rows up to date whose place was in question."""
        ids = np.unique(np.concatenate(self._dirty))
        self._dirty = []
        if self.limit == UNKNOWN:
            return  # the next round asks everybody
        ids = ids[self.state.key[ids] != TAKEN]
        self.engine.refresh(ids, self.limit)
        self._enter(ids)

    def _round(self) -> None:
        """Raise the limit until there are candidates."""
        state = self.state
        state.work.rounds += 1
        key = state.key[: state.n]
        known = self.limit > UNKNOWN
        limit = self._quantile() if known else np.inf
        if not known or self._reach > CAPPED_FROM * CALIBRATION:
            limit = min(limit, self._calibrated())
        self.limit = limit
        ids = np.flatnonzero(key <= self.limit)
        self.engine.refresh(ids, self.limit)
        self._ids, self._keys, self._n = self._ids[:0], self._keys[:0], 0
        self._enter(ids)
        if self._n < POOL // 4:
            self._reach = min(2 * self._reach, state.n)
        elif self._n > POOL:
            self._reach = max(POOL, self._reach // 2)

    def _quantile(self) -> float:
        """About the `_reach`-th smallest key."""
        step = max(1, self.state.n // 32768)
        sample = self.state.key[self.state.work.rounds % step : self.state.n : step]
        sample = sample[sample != TAKEN]
        if not len(sample):
            return float(np.min(self.state.key[: self.state.n]))
        place = min(len(sample) - 1, self._reach // step)
        return float(np.partition(sample, place)[place])

    def _calibrated(self) -> float:
        """The limit that leaves about POOL candidates, from a sample that is evaluated completely: each time the same rows."""
        n = self.state.n
        ids = np.arange(0, n, max(1, n // CALIBRATION))
        ids = ids[self.state.key[ids] != TAKEN]
        if not len(ids):
            return float(np.min(self.state.key[:n]))
        self.engine.refresh(ids, np.inf)
        keys = self.state.key[ids]
        place = min(len(keys) - 1, max(4, len(keys) * POOL // n))
        return float(np.partition(keys, place)[place])


def _engine(name: str, state: State, threads: int, basis: Float64 | None) -> Engine:
    kind, _, m = name.partition(" ")
    if kind == "bounds" and m.isdigit():
        return Bounded(state, threads, int(m), basis)
    if name == "dense":
        return Dense(state, threads)
    if name == "cuda":
        return DenseOnDevice(state, threads, "cuda")
    raise ValueError(f'engine must be "dense", "cuda" or "bounds <m>", got {name!r}')
