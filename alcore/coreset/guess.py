"""Guessing which centre is near a row from the signs of its coordinates: one exact product then often says that it is no candidate.

Where the pool has groups, a row is far from all centres but the one of its group, and products with blocks of centres in turn find
that one late. The angle between two vectors shows in how many signs differ (Charikar 2002, Sec. 3), at a fifth of the cost of a
product. A guess decides nothing: what it names is evaluated exactly, and raises the row's lower bound or does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from alcore.coreset.compiled import kernel
from alcore.coreset.kernels import exact_dot
from alcore.coreset.state import Float32

WORDS = 4
"""Signs of a row, in words of 64: those of the first 256 coordinates."""

Signs = npt.NDArray[np.uint64]


def _count_ones(context: Any, word: Any) -> Any:
    """How many bits of a word are set: numba has no name for the processor's instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_ones: Any = intrinsic(_count_ones)


@kernel
def write_signs(x: Any, middle: Any, out: Any) -> None:
    """out[:] = one bit for each of the first coordinates of the row x: is it above `middle`?"""
    n = min(x.shape[0], 64 * WORDS)
    for w in range(WORDS):
        word = np.uint64(0)
        for b in range(max(0, min(64, n - 64 * w))):
            word |= np.uint64(x[64 * w + b] > middle[64 * w + b]) << np.uint64(b)
        out[w] = word


@kernel
def guess_nearest(
    ids: Any, base: Any, tail: Any, middle: Any, centres: Any, signs: Any, bias: Any, n_centres: int, limit: float,
    key: Any, near: Any, resolved: Any, alive: Any, lanes: Any,
) -> Any:  # fmt: skip
    """Raise the keys of rows by the product with the centre, of those not resolved yet, whose signs differ least.

    signs: (T, WORDS) of the centres; bias: (ceil(T / B), B), below zero for withdrawn ones. Writes the numbers of the rows that may
    still be candidates into `alive`; returns (how many, signs compared, exact products evaluated).
    """
    mine = np.empty(WORDS, np.uint64)
    n_alive, compared, evaluated, n_base, size = 0, 0, 0, base.shape[0], bias.shape[1]
    for j in range(ids.shape[0]):
        i = ids[j]
        x = base[i] if i < n_base else tail[i - n_base]
        write_signs(x, middle, mine)
        first = resolved[i]
        theirs = signs[first:n_centres]
        s0, s1, s2, s3 = mine[0], mine[1], mine[2], mine[3]
        best, least = -1, 64 * WORDS + 1
        for q in range(theirs.shape[0]):
            differ = _ones(s0 ^ theirs[q, 0]) + _ones(s1 ^ theirs[q, 1])
            differ += _ones(s2 ^ theirs[q, 2]) + _ones(s3 ^ theirs[q, 3])
            if differ < least:
                best, least = q, differ
        compared += theirs.shape[0]
        if best >= 0:
            number = first + best
            if bias[number // size, number % size] == 0:
                value = exact_dot(x, centres[number], lanes)
                evaluated += 1
                if value > key[i]:
                    key[i], near[i] = value, number
        if key[i] <= limit:
            alive[n_alive] = j
            n_alive += 1
    return n_alive, compared, evaluated


@kernel
def signs_of(rows: Float32, middle: Float32) -> Signs:
    """(N, WORDS) signs of (N, D) rows."""
    out = np.empty((rows.shape[0], WORDS), np.uint64)
    for i in range(rows.shape[0]):
        write_signs(rows[i], middle, out[i])
    return out
