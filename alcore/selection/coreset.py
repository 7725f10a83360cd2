"""Strategy coreset: greedy k-center in cosine distance, as in the paper.

Source: Zhao, Zhou, Chen 2025 (BVM), Sec. 2, after Sener & Savarese 2018 (ICLR), Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alcore.selection.control import is_control
from alcore.selection.port import Choice, Pool, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.arrays.coreset import Pick

KEPT_FROM = 5_000
"""Patches from which on a core-set is worth keeping from job to job."""


def coreset(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """The patch whose nearest covered or chosen one is farthest, after `initial` random seeds while nothing is covered.

    The sequence is that of the whole pool; a patch that somebody else has taken meanwhile is left out of it, and nothing
    else changes: the control arm does not change what the rule picks within a batch.
    """
    covered = [PoolPosition(int(p)) for p in request.covered]
    others = sum(is_control(request.n_before + i, request.control_share) for i in range(request.n))
    picks = _picks(pool, request.n + others, covered, rng, request.initial)
    n_random = sum(pick.random for pick in picks)
    for rank, pick in enumerate(picks, start=1):
        if not room.free[pick.position]:
            continue
        if pick.random:
            reason = (
                f"random seed {rank} of {n_random}: nothing was labelled yet, and the selection had to begin somewhere"
            )
        else:
            # without its number, which changes with the pool as long as the suggestion waits
            reason = "the least similar of all patches to everything labelled or queued when it was chosen"
        why = {} if pick.distance is None else {"score": pick.distance}
        yield Choice(pick.position, "selected", reason, why, pick.random, pick.distance, pick.nearest)


def _picks(pool: Pool, k: int, covered: Sequence[PoolPosition], rng: np.random.Generator, initial: int) -> list[Pick]:
    """The same picks either way: from the core-set that the process keeps, or from the beginning."""
    from alcore.coreset import continue_from, select

    if pool.frontier is None or len(pool) < KEPT_FROM:
        return select(pool.embeddings, k, covered, rng, initial=initial)
    return continue_from(pool.frontier(covered, k), k, rng, initial)
