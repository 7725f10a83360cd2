"""Bringing rows up to date by matrix products: blocks of centres at a time, only rows that can still be candidates.

The largest share of a lookahead in blocks (one pass over the rows answers for many centres) is skipped: a row whose key
already exceeds the limit is left for later, and leaves a pass as soon as one block shows it. Makes no assumption on the data: where
guesses (`guess`) save products, a few rows of each large pass show it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from alcore.arrays.coreset import LANES
from alcore.coreset.compiled import share_out, slices
from alcore.coreset.guess import Signs, guess_nearest, signs_of
from alcore.coreset.kernels import absorb
from alcore.coreset.state import BLOCK, SIGNS_COST, Float32, Ids, State

ROWS = 4096
"""Rows of one matrix product on the CPU: with their products they stay in cache."""
SHARED_FROM = 1 << 18
"""Products from which a second thread is worth its start."""
PILOT = 512
"""Rows on which guessing is tried first, and as many on which it is not."""
GUESSED_FROM = 16 * PILOT
"""Rows from which it is tried: below, trying costs more than it saves."""
GUESS_COST = 30.0
"""Cost of a row's signs and of the product with the centre they name, in products within a matrix product (measured)."""


class Dense:
    """Float32 products on the CPU, guarded by their worst-case rounding error; exact ones decide."""

    def __init__(self, state: State, threads: int) -> None:
        self.state, self.threads = state, threads
        self.eps = (state.dim + 16) * 2.0**-24 * 1.01
        """|float32 product - exact| of two unit rows."""
        self.coordinates = np.empty((0, 0), np.float32)
        self.rest = np.empty(0, np.float32)

    def added(self, begin: int, end: int) -> None:
        """Rows begin..end are new."""

    def covered(self, number: int, position: int) -> tuple[Float32, np.float32]:
        """Centre `number` is new: its coordinates and rest, of which there are none."""
        return self.rest, np.float32(0)

    def renumbered(self) -> None:
        """The log of centres was written anew."""

    def refresh(self, ids: Ids, limit: float) -> None:
        """Update keys of these distinct rows, each completely or until it exceeds `limit`."""
        if len(ids) < GUESSED_FROM or limit == np.inf:
            self._resolve(ids, limit)
            return
        step = len(ids) // PILOT
        some, others = ids[::step], ids[step // 2 :: step]
        signs = signs_of(self.state.centres.rows[: len(self.state.centres)], self._middle)
        without = self._resolve(some, limit) / len(some)
        with_guesses = self._guess_and_resolve(others, limit, signs) / len(others)
        ids = ids[self.state.key[ids] <= limit]
        if with_guesses < without:
            self._guess_and_resolve(ids, limit, signs)
        else:
            self._resolve(ids, limit)

    def _resolve(self, ids: Ids, limit: float) -> float:
        """Do so by matrix products; returns how many."""
        block = self.state.resolved[ids] // BLOCK
        order = np.argsort(block, kind="stable")
        ids, block = ids[order], block[order]
        cuts = np.flatnonzero(np.diff(block)) + 1
        parts = [group[i : i + ROWS] for group in np.split(ids, cuts) for i in range(0, len(group), ROWS)]
        threads = self.threads if len(ids) * len(self.state.centres) > SHARED_FROM else 1
        done = share_out(lambda part: self._chunk(part, limit), parts, threads)
        products = sum(dense for dense, _ in done)
        self.state.work.dense += products
        self.state.work.exact += sum(exact for _, exact in done)
        return products

    def _guess_and_resolve(self, ids: Ids, limit: float, signs: Signs) -> float:
        """Do so for what is left after one guess for each row; returns what it cost, in products within a matrix product."""
        state = self.state

        def some(part: slice) -> tuple[Ids, int, int]:
            alive = np.empty(part.stop - part.start, np.int64)
            n, compared, exact = guess_nearest(
                ids[part],
                state.base,
                state.tail,
                self._middle,
                state.centres.rows,
                signs,
                state.centres.bias,
                len(state.centres),
                limit,
                state.key,
                state.near,
                state.resolved,
                alive,
                np.empty(LANES),
            )
            return ids[part][alive[:n]], compared, exact

        done = share_out(some, slices(len(ids), ROWS), self.threads)
        compared = sum(compared for _, compared, _ in done)
        state.work.signs += compared
        state.work.exact += sum(exact for _, _, exact in done)
        left = np.concatenate([ids[:0], *(left for left, _, _ in done)])
        return len(ids) * GUESS_COST + SIGNS_COST * compared + self._resolve(left, limit)

    @cached_property
    def _middle(self) -> Float32:
        """(D,) mean of a sample of the rows."""
        n = self.state.n
        sample = self.state.take(np.arange(0, n, max(1, n // PILOT)))
        found: Float32 = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        return found

    def _chunk(self, ids: Ids, limit: float) -> tuple[int, int]:
        """Rows that are all resolved up to the same block; returns (float32, exact products evaluated)."""
        state, centres = self.state, self.state.centres
        if not len(ids):
            return 0, 0
        dense, exact, n = 0, 0, len(centres)
        rows = state.take(ids)
        alive = np.empty(len(ids), np.int64)
        for first in range(int(state.resolved[ids[0]]) // BLOCK * BLOCK, n, BLOCK):
            end = min(n - first, BLOCK)
            products = rows @ centres.rows[first : first + end].T
            dense += products.size
            left, evaluated = absorb(
                ids,
                rows,
                products,
                centres.rows,
                first,
                end,
                centres.bias[first // BLOCK],
                limit,
                self.eps,
                state.key,
                state.near,
                state.resolved,
                alive,
            )
            exact += evaluated
            if not left:
                break
            if left < len(ids):
                ids, rows = ids[alive[:left]], rows[alive[:left]]
        return dense, exact


class DenseOnDevice(Dense):
    """The same with the rows on an accelerator, by torch; only rows that stay candidates come back to be decided.

    Where its memory runs out, the rest is computed on the CPU, with the same result: what a call had brought up to date stays.
    """

    def __init__(self, state: State, threads: int, device: str, rows: int = 1 << 16) -> None:
        import torch

        super().__init__(state, threads)
        self._torch: Any = torch
        self._rows_at_once = rows
        self.device = torch.device(device)
        self._has_room = True
        self._rows, self._tail = torch.empty((0, state.dim)), torch.empty((0, state.dim))
        try:
            self._rows = torch.from_numpy(state.base).to(self.device)
            self._tail = self._tail.to(self.device)
        except torch.OutOfMemoryError:
            self._leave()

    def added(self, begin: int, end: int) -> None:
        """Rows begin..end are new."""
        if not self._has_room:
            return
        new = self.state.tail[begin - len(self.state.base) : end - len(self.state.base)]
        try:
            self._tail = self._torch.cat([self._tail, self._torch.from_numpy(new).to(self.device)])
        except self._torch.OutOfMemoryError:
            self._leave()

    def refresh(self, ids: Ids, limit: float) -> None:
        """Update keys of these distinct rows, each completely or until it exceeds `limit`."""
        if self._has_room:
            try:
                self._refresh_there(ids, limit)
                return
            except self._torch.OutOfMemoryError:
                self._leave()
        super().refresh(ids, limit)

    def _leave(self) -> None:
        """Give the accelerator's memory back; from now on the CPU computes."""
        self._has_room = False
        self._rows = self._tail = self._rows[:0].cpu()
        if self.device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _refresh_there(self, ids: Ids, limit: float) -> None:
        before = self._torch.get_float32_matmul_precision()
        self._torch.set_float32_matmul_precision("highest")  # TF32 would break the guard
        try:
            block = self.state.resolved[ids] // BLOCK
            for b in np.unique(block):
                group = ids[block == b]
                for i in range(0, len(group), self._rows_at_once):
                    dense, exact = self._chunk_there(group[i : i + self._rows_at_once], limit)
                    self.state.work.dense += dense
                    self.state.work.exact += exact
        finally:
            self._torch.set_float32_matmul_precision(before)

    def _take(self, ids: Ids) -> Any:
        n = len(self.state.base)
        at = self._torch.from_numpy(ids).to(self.device)
        if not len(self._tail) or ids.max() < n:
            return self._rows[at]
        found = self._torch.empty((len(ids), self.state.dim), dtype=self._torch.float32, device=self.device)
        new = at >= n
        found[~new], found[new] = self._rows[at[~new]], self._tail[at[new] - n]
        return found

    def _chunk_there(self, ids: Ids, limit: float) -> tuple[int, int]:
        state, centres, torch = self.state, self.state.centres, self._torch
        dense, exact, n = 0, 0, len(centres)
        rows = self._take(ids)
        for first in range(int(state.resolved[ids[0]]) // BLOCK * BLOCK, n, BLOCK):
            end, number = min(n - first, BLOCK), first // BLOCK
            block = torch.from_numpy(centres.rows[first : first + end]).to(self.device)
            bias = centres.bias[number, :end]
            products = rows @ block.T
            dense += len(ids) * end
            best, at = (products + torch.from_numpy(bias).to(self.device)).max(dim=1)
            here = best.cpu().numpy().astype(np.float64) - self.eps
            over = here > limit
            over_ids = ids[over]
            better = here[over] > state.key[over_ids]
            state.key[over_ids[better]] = here[over][better]
            state.near[over_ids[better]] = at.cpu().numpy()[over][better] + first
            left = np.flatnonzero(~over)
            if not len(left):
                break
            kept = torch.from_numpy(left).to(self.device)
            ids, rows = ids[left], rows[kept]
            alive = np.empty(len(ids), np.int64)
            n_alive, evaluated = absorb(
                ids,
                state.take(ids),
                products[kept].cpu().numpy(),
                centres.rows,
                first,
                end,
                centres.bias[number],
                limit,
                self.eps,
                state.key,
                state.near,
                state.resolved,
                alive,
            )
            exact += evaluated
            if not n_alive:
                break
            if n_alive < len(ids):
                ids, rows = ids[alive[:n_alive]], rows[torch.from_numpy(alive[:n_alive]).to(self.device)]
        return dense, exact
