"""Bringing rows up to date by two-sided bounds from their first principal coordinates.

With y the coordinates of x in an orthonormal basis Q, and r = |x - Q y|: x.c lies within y.y_c +- r r_c (Cauchy-Schwarz on what
the basis leaves). Where the spectrum decays, as it does for embeddings of smooth images, few exact products remain.
"""

from __future__ import annotations

import numpy as np

from alcore.coreset.compiled import one_blas_thread, share_out, slices
from alcore.coreset.kernels import refresh_bounded
from alcore.coreset.state import BLOCK, Float32, Float64, Ids, State, longer

ROWS = 2048
SAMPLE = 20_000
"""Rows from which the basis is computed."""


class Bounded:
    """Bounds in `m` (a multiple of 8) principal coordinates first, exact products where they cannot decide."""

    def __init__(self, state: State, threads: int, m: int, basis: Float64 | None = None) -> None:
        if m % 8 or not 0 < m <= state.dim:
            raise ValueError(f"m must be a multiple of 8 up to the {state.dim} dimensions, got {m}")
        self.state, self.threads, self.m = state, threads, m
        self.eps = (m + 16) * 2.0**-23
        """Rounding of a bound: coordinates and their products in float32 (m + 8 roundings of 2^-24), twice over."""
        vectors = principal(state.base) if basis is None else basis
        self.basis = np.ascontiguousarray(vectors[:, :m])
        spare = len(state.key)
        self.coordinates = np.empty((spare, m), np.float32)
        self.rest = np.empty(spare, np.float32)
        self.blocks = np.zeros((1, m, BLOCK), np.float32)
        self.widths = np.zeros((1, BLOCK), np.float32)
        state.work.m = m
        self.added(0, state.n)

    def added(self, begin: int, end: int) -> None:
        """Rows begin..end are new."""
        if end > len(self.rest):
            self.coordinates = longer(self.coordinates, len(self.state.key))
            self.rest = longer(self.rest, len(self.state.key))
        share_out(
            lambda part: self._project(begin + part.start, begin + part.stop), slices(end - begin, ROWS), self.threads
        )
        self.state.work.projected += end - begin

    def _project(self, begin: int, end: int) -> None:
        """Coordinates in float64, and the length of what they leave, rounded up."""
        n = len(self.state.base)
        rows = self.state.base[begin:end] if end <= n else self.state.take(np.arange(begin, end))
        wide = rows.astype(np.float64)
        y = wide @ self.basis
        rest = np.einsum("nd,nd->n", wide, wide) - np.einsum("nm,nm->n", y, y)
        self.coordinates[begin:end] = y
        # the difference of sums of D and m terms of at most one is known to about (D + m) 2^-53; float32 rounds by 2^-24
        self.rest[begin:end] = np.sqrt(np.maximum(rest, 0) + 1e-12) * (1 + 1e-6)

    def covered(self, number: int, position: int) -> tuple[Float32, np.float32]:
        """Centre `number` is the row at `position`: its coordinates and rest."""
        block, place = divmod(number, BLOCK)
        if block == len(self.blocks):
            self.blocks, self.widths = longer(self.blocks, 2 * block), longer(self.widths, 2 * block)
        self.blocks[block, :, place] = self.coordinates[position]
        self.widths[block, place] = self.rest[position]
        return self.coordinates[position], self.rest[position]

    def renumbered(self) -> None:
        """The log of centres was written anew."""
        for number, position in enumerate(self.state.centres.positions):
            self.covered(number, position)

    def refresh(self, ids: Ids, limit: float) -> None:
        """Update keys of these distinct rows, each completely or until it exceeds `limit`."""
        state = self.state

        def some(part: slice) -> tuple[int, int]:
            done: tuple[int, int] = refresh_bounded(
                ids[part],
                state.base,
                state.tail,
                self.coordinates,
                self.rest,
                state.centres.rows,
                self.blocks,
                self.widths,
                state.centres.bias,
                len(state.centres),
                limit,
                self.eps,
                state.key,
                state.near,
                state.resolved,
            )
            return done

        done = share_out(some, slices(len(ids), ROWS), self.threads)
        state.work.bounds += sum(bounds for bounds, _ in done)
        state.work.exact += sum(exact for _, exact in done)


def principal(rows: Float32) -> Float64:
    """(D, D) orthonormal columns, the directions in which a sample of the rows reaches farthest first."""
    sample = rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE]
    with one_blas_thread():
        _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    found: Float64 = np.ascontiguousarray(vectors[:, ::-1])
    return found
