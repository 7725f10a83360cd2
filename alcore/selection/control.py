"""The control arm: which suggestions are drawn at random, so that a lab can see whether selection pays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from alcore.selection.port import Choice, Pool, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition


def is_control(number: int, share: float) -> bool:
    """Is suggestion `number`, counted from 0 over the whole life of a workspace, one of the control arm?

    Of the first m suggestions exactly floor(m * share) are: with 0.1 every tenth. Raises ValueError unless 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the control share must be at least 0 and below 1, got {share}")
    exact = Fraction(str(share))
    return math.floor((number + 1) * exact) > math.floor(number * exact)


def control(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy: any free patch, all equally likely."""
    while len(free := room.open()):
        yield Choice(
            PoolPosition(int(rng.choice(free))),
            "control",
            "drawn at random, to measure whether choosing helps",
            {"pool": float(len(free))},
            random=True,
        )
