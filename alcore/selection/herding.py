"""Strategy herding: MaxHerding, the patch that makes the chosen ones stand best for the whole pool.

Source: Bae, Noh, Sutherland 2024 (ECCV), Algorithm 1, with a Gaussian kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alcore.selection import coverage
from alcore.selection.port import Choice, Pool, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition


def herding(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy. Candidates and the pool are represented by bounded uniform draws (see `alcore.selection.coverage`)."""
    everything = np.union1d(room.open(), request.covered).astype(np.int64)
    while len(free := room.open()):
        candidates, state = coverage.begun(pool, free, everything, request.covered, rng)
        seen = 0
        while len(alive := np.flatnonzero(room.free[candidates])):
            state.cover(pool.embeddings[room.taken[seen:]])
            seen = len(room.taken)
            gains = state.gains(alive)
            best = int(gains.argmax())
            yield Choice(
                PoolPosition(int(candidates[alive[best]])),
                "selected",
                "stands best for the patches that nothing labelled or queued resembles",
                {"score": float(gains[best])},
            )
