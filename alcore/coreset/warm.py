"""A core-set that a process keeps between jobs: brought up to date by what changed, built anew when it must be."""

from __future__ import annotations

from collections.abc import Sequence

from alcore.coreset.choose import DENSE_BELOW, best_engine
from alcore.coreset.frontier import Frontier
from alcore.coreset.state import Float32, Float64
from alcore.types import PoolPosition

MOST_ADDED = 0.25
"""Share of rows added one by one above which a Frontier is built anew: added rows are copies."""


class Warm:
    """At most one Frontier, of the pool that was asked for last."""

    def __init__(self) -> None:
        self._keys: tuple[str, ...] = ()
        self._frontier: Frontier | None = None
        self.built = 0
        """How often one had to be built."""

    def frontier(
        self,
        keys: Sequence[str],
        embeddings: Float32,
        covered: Sequence[PoolPosition],
        k: int = 1000,
        device: str = "cpu",
    ) -> Frontier:
        """The Frontier of this pool with exactly these rows covered.

        keys: what the (N, D) embeddings are made of, in order; the same keys always stand for the same rows, so a pool whose keys
        begin with those of the last one only grew. k: how many picks it is likely to be asked for, which, beside what is covered
        already, the choice of the engine depends on.
        """
        known, keys = self._frontier, tuple(keys)
        grown = len(embeddings) - (len(known) if known else 0)
        usable = (
            known is not None
            and keys[: len(self._keys)] == self._keys
            and known.state.dim == embeddings.shape[1]
            and grown >= 0
            and len(embeddings) - len(known.state.base) <= MOST_ADDED * len(embeddings)
        )
        if known is None or not usable:
            engine, basis = self._engine_for(embeddings, len(covered), k, device)
            self._frontier, self._keys = Frontier(embeddings, covered, engine, basis=basis), keys
            self.built += 1
            return self._frontier
        if grown:
            known.add_points(embeddings[-grown:])
        self._keys = keys
        wanted = set(covered)
        for position in known.covered:
            if position not in wanted:
                known.withdraw(position)
        known.cover(covered)
        return known

    @staticmethod
    def _engine_for(embeddings: Float32, n_covered: int, k: int, device: str) -> tuple[str, Float64 | None]:
        """Where more is covered than will be picked, catching up is the work, and matrix products do that in half the time of bounds."""
        if n_covered >= k:
            return "cuda" if device == "cuda" and len(embeddings) > DENSE_BELOW else "dense", None
        return best_engine(embeddings, k, device)
