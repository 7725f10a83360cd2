"""What is known of every row and every covered row while the core-set grows: plain arrays for compiled code to work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from alcore.arrays.coreset import first_unusable
from alcore.coreset.kernels import GONE, UNKNOWN

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)

BLOCK = 128
"""Centres that a row is compared with before asking whether it still matters."""
SIGNS_COST = 0.2
"""Cost of comparing the signs of two rows, in products within a matrix product (measured, 384 dimensions, AVX2)."""
SPARE_ROWS = 1 << 16
"""Arrays are made this much longer than needed; memory that is not written to costs nothing."""


@dataclass
class Work:
    """What was evaluated so far: exact and float32 inner products of whole rows, signs of two rows compared, bounds of `m` dimensions,
    rows projected."""

    exact: int = 0
    dense: int = 0
    signs: int = 0
    bounds: int = 0
    projected: int = 0
    m: int = 0
    rounds: int = 0

    def distances(self, dim: int) -> float:
        """All of it in evaluations of one distance of `dim` dimensions."""
        return self.exact + self.dense + SIGNS_COST * self.signs + (self.bounds + self.projected) * self.m / dim


class Centres:
    """The covered rows in the order they were covered, in blocks; a withdrawn one leaves a hole that compares as -10."""

    def __init__(self, dim: int) -> None:
        self.rows = np.zeros((BLOCK, dim), np.float32)
        self.bias = np.zeros((1, BLOCK), np.float32)
        self.positions: list[int] = []
        self.number: dict[int, int] = {}
        """Where each covered position is in the log."""

    def __len__(self) -> int:
        return len(self.positions)

    def append(self, position: int, row: Float32) -> int:
        """Log one more; returns its number."""
        number = len(self.positions)
        if number == len(self.rows):
            self.rows = longer(self.rows, 2 * number)
            self.bias = longer(self.bias, 2 * len(self.bias))
        self.rows[number], self.bias[number // BLOCK, number % BLOCK] = row, 0
        self.positions.append(position)
        self.number[position] = number
        return number

    def drop(self, position: int) -> int:
        """Leave a hole where `position` was; returns its number."""
        number = self.number.pop(position)
        self.bias[number // BLOCK, number % BLOCK] = GONE
        return number

    @property
    def holes(self) -> int:
        """How many were withdrawn."""
        return len(self.positions) - len(self.number)


class State:
    """Rows (N, D), the key of each (a lower bound of its largest product with any centre), that centre, and up to where.

    key[i] is reached by centre near[i], and is exact as far as the first resolved[i] centres go; TAKEN for covered rows.
    Rows are those given at first, never copied, and a tail of those added since.
    """

    def __init__(self, rows: Float32) -> None:
        self.base = check(rows, 0)
        self.dim = rows.shape[1]
        self.n = len(rows)
        self.tail = np.empty((0, self.dim), np.float32)
        spare = self.n + SPARE_ROWS
        self.key = np.full(spare, UNKNOWN)
        self.near = np.full(spare, -1, np.int32)
        self.resolved = np.zeros(spare, np.int32)
        self.centres = Centres(self.dim)
        self.work = Work()

    def append(self, rows: Float32) -> None:
        """Add (M, D) rows at the end."""
        check(rows, self.n, self.dim)
        begin, self.n = self.n - len(self.base), self.n + len(rows)
        if self.n - len(self.base) > len(self.tail):
            self.tail = longer(self.tail, 2 * (self.n - len(self.base)))
        self.tail[begin : begin + len(rows)] = rows
        if self.n > len(self.key):
            spare = self.n + SPARE_ROWS
            self.key, self.near, self.resolved = (longer(a, spare) for a in (self.key, self.near, self.resolved))
        self.forget(slice(self.n - len(rows), self.n))

    def forget(self, which: Ids | slice) -> None:
        """Know nothing of these rows."""
        self.key[which], self.near[which], self.resolved[which] = UNKNOWN, -1, 0

    def row(self, position: int) -> Float32:
        """(D,) one row."""
        first = len(self.base)
        found: Float32 = self.base[position] if position < first else self.tail[position - first]
        return found

    def take(self, ids: Ids) -> Float32:
        """(len(ids), D) copy of these rows."""
        n = len(self.base)
        if self.n == n:
            return self.base.take(ids, axis=0)
        found = np.empty((len(ids), self.dim), np.float32)
        new = ids >= n
        found[~new], found[new] = self.base[ids[~new]], self.tail[ids[new] - n]
        return found

    def close_holes(self) -> None:
        """Renumber the log without the withdrawn centres."""
        old = self.centres
        kept = np.array(sorted(old.number.values()), np.int64)
        number = np.full(len(old) + 1, -1, np.int32)
        number[kept] = np.arange(len(kept))
        before = np.concatenate([[0], np.cumsum(number[:-1] >= 0)]).astype(np.int32)
        self.near[: self.n] = number[self.near[: self.n]]
        self.resolved[: self.n] = before[self.resolved[: self.n]]
        self.centres = Centres(self.dim)
        for i in kept:
            self.centres.append(old.positions[i], old.rows[i])

    def all_taken(self) -> bool:
        """Is every row covered?"""
        return len(self.centres.number) == self.n


def longer(array: npt.NDArray[Scalar], length: int) -> npt.NDArray[Scalar]:
    """A copy with room for `length` entries along the first axis; the new ones are zero."""
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def check(rows: Float32, first: int, dim: int | None = None) -> Float32:
    """`rows` in C order. Raises ValueError unless (N, D) float32 rows of length one; positions count from `first`."""
    if rows.ndim != 2 or rows.dtype != np.float32 or rows.shape[1] != (dim or rows.shape[1]) or not rows.shape[1]:
        wanted = f"(N, {dim or 'D'})"
        raise ValueError(f"embeddings must be {wanted} float32, got {rows.shape} {rows.dtype}")
    wrong = first_unusable(rows)
    if wrong is not None:
        raise ValueError(f"the embedding at position {first + wrong} is not finite and of length one")
    return np.ascontiguousarray(rows)
