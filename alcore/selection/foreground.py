"""Strategy foreground: random, but two thirds of the draws by how much the pseudo-labels found in a patch.

Source: the foreground-aware random baseline of nnActive (Lüth et al. 2025), which no uncertainty method beat reliably.
There the truth says where foreground is; here the pseudo-labels or predictions do, and borders count too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alcore.selection.content import Float64, known_figures, matter
from alcore.selection.port import Choice, Pool, Positions, Request
from alcore.selection.spread import Room
from alcore.types import PoolPosition

AWARE = 2 / 3
"""Share of the draws that look at the content; the others are uniform, for what the pseudo-labels miss."""


def foreground(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy."""
    while len(free := room.open()):
        chances = probabilities(pool, free)
        position = PoolPosition(int(rng.choice(free, p=chances)))
        share = pool.figure("foreground", position)
        found = f"about {share:.0%} of it is expected to be objects" if np.isfinite(share) else "its content is unknown"
        why = known_figures(pool, position) | {"chance": float(chances[np.searchsorted(free, position)])}
        reason = f"drawn at random, patches with many objects and borders more often: {found}"
        yield Choice(position, "selected", reason, why)


def probabilities(pool: Pool, positions: Positions) -> Float64:
    """Chance of each of these patches to be drawn; sums to 1. Uniform where nothing is known or nothing was found."""
    weight = matter(pool, positions)
    known = np.isfinite(weight)
    weight = np.where(known, weight, weight[known].mean() if known.any() else 0.0)
    even = np.full(len(positions), 1 / len(positions))
    total = weight.sum()
    if total <= 0:
        return even
    mixed: Float64 = AWARE * weight / total + (1 - AWARE) * even
    return mixed / mixed.sum()
