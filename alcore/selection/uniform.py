"""Strategy random: every free patch is equally likely. The baseline that every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alcore.selection.port import Choice, Pool, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition


def uniform(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy."""
    while len(free := room.open()):
        position = PoolPosition(int(rng.choice(free)))
        yield Choice(position, "selected", "drawn at random", {"pool": float(len(free))}, random=True)
