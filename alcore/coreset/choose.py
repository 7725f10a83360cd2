"""Picking many at once: the rule of the paper by whichever way is fastest for this pool. The picks are the same for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alcore.arrays.coreset import Pick, farthest_first
from alcore.coreset.bounded import SAMPLE, principal
from alcore.coreset.frontier import Frontier
from alcore.coreset.state import SIGNS_COST, Float32, Float64, Work, check
from alcore.types import PoolPosition

PLAIN_BELOW = 1_000
"""Rows below which nothing is worth loading compiled code for, let alone compiling it."""
DENSE_BELOW = 100_000
"""Rows up to which a pilot takes longer than it can save."""
PILOT_PICKS = 200
PILOT_M = 16
"""Coordinates that a bound is worth trying with: with 64, the projection alone costs more than matrix products on any data tried."""
EXACT_COST = 10.0
"""Cost of an exact product of scattered rows, in products within a matrix product (measured: 150 to 300 ns against 15)."""
PROJECTION_COST = 2.0
"""Cost of each coordinate of each row, in the same unit: float64, once."""


def select(
    embeddings: Float32,
    k: int,
    covered: Sequence[PoolPosition],
    rng: np.random.Generator,
    initial: int = 3,
    engine: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
) -> list[Pick]:
    """Select up to `k` of the (N, D) float32 unit rows: the core-set of Zhao et al. 2025, Sec. 2, at any size.

    The picks, their distances and nearest rows are those of `alcore.arrays.coreset.farthest_first`, which says what they are,
    whichever engine finds them: "auto" (by size, device and a pilot on the data), "plain", or one of Frontier's.
    Raises ValueError for rows that are not finite and of length one, and for covered positions outside the pool.
    """
    check(embeddings, 0)
    basis = None
    if engine == "auto" and len(embeddings) < PLAIN_BELOW:
        engine = "plain"
    if engine == "auto":
        engine, basis = best_engine(embeddings, k, device)
    if engine == "plain":
        return farthest_first(embeddings, k, covered, rng, initial)
    frontier = Frontier(embeddings, covered, engine, threads, basis)
    return continue_from(frontier, k, rng, initial)


def continue_from(frontier: Frontier, k: int, rng: np.random.Generator, initial: int = 3) -> list[Pick]:
    """Pick and cover up to `k` more: random seeds first if nothing is covered, at least one; then always the farthest row."""
    n_picks = max(0, min(k, len(frontier) - len(frontier.covered)))
    picks: list[Pick] = []
    if not frontier.covered and n_picks:
        for position in rng.choice(len(frontier), size=min(max(initial, 1), n_picks), replace=False):
            picks.append(frontier.look(PoolPosition(int(position))))
            frontier.cover([picks[-1].position])
    while len(picks) < n_picks and (pick := frontier.next()) is not None:
        picks.append(pick)
        frontier.cover([pick.position])
    return picks


def best_engine(embeddings: Float32, k: int, device: str = "cpu") -> tuple[str, Float64 | None]:
    """The engine for this pool, and the basis for its bounds if it needs one. A function of the data alone, never of a clock."""
    if len(embeddings) <= DENSE_BELOW:
        return "dense", None
    if device == "cuda":
        return "cuda", None
    basis = principal(embeddings)
    sample = np.ascontiguousarray(embeddings[:: max(1, len(embeddings) // SAMPLE)][:SAMPLE])
    costs = {"dense": _pilot(sample, k, "dense", None)}
    if embeddings.shape[1] >= 2 * PILOT_M:
        bounds = f"bounds {PILOT_M}"
        costs[bounds] = _pilot(sample, k, bounds, basis)
    name = min(costs, key=lambda engine: costs[engine])
    return name, basis if name.startswith("bounds") else None


def _pilot(sample: Float32, k: int, engine: str, basis: Float64 | None) -> float:
    """Cost of the first picks from a sample, in float32 products."""
    frontier = Frontier(sample, engine=engine, basis=basis)
    continue_from(frontier, min(k, PILOT_PICKS), np.random.default_rng(0))
    work: Work = frontier.work
    products = work.dense + SIGNS_COST * work.signs + EXACT_COST * work.exact + work.bounds * work.m / sample.shape[1]
    return products + PROJECTION_COST * work.projected * work.m
