"""How many minutes a patch takes: fitted to what people needed so far, once that is enough to go by. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

LEAST = 8
"""Timed labels before the ledger is believed: a median of fewer says more of one of them than of the next."""
LATEST = 200
"""At most so many, the latest, count: people get faster. It also bounds the pairs (20 000)."""
MOST_FACTOR = 20.0
"""A label that took so many times longer than half of them, or as much shorter, was no ordinary session: it is left out."""


@dataclass(frozen=True)
class Effort:
    """Expected minutes of a patch: base + per_object * (number of objects expected in it). n: timed labels behind it, 0 where
    config.toml says it."""

    base: float
    per_object: float
    n: int = 0

    def minutes(self, n_objects: float | None) -> float | None:
        """What a patch is expected to take; None where the number of objects is unknown and counts."""
        if n_objects is None:
            return self.base if self.per_object == 0 else None
        return self.base + self.per_object * max(0.0, n_objects)


def fit(timed: Sequence[tuple[float, float]], configured: Effort) -> Effort:
    """What the ledger says, oldest first: (objects expected, active minutes) of each timed label; `configured` while there are
    fewer than `LEAST`.

    The slope is the median of the slopes of all pairs (Theil 1950; Sen 1968), the base the median of what is left: up to 29 % of
    the labels may be forgotten sessions without moving it far. Both are at least 0. The objects are those that were expected
    when the patch was chosen, not those that were drawn: that is all that is known of a patch that is still to be labelled.
    """
    known = [(n, minutes) for n, minutes in timed if n >= 0 and minutes > 0][-LATEST:]
    if known:
        usual = statistics.median(minutes for _, minutes in known)
        known = [(n, m) for n, m in known if usual / MOST_FACTOR <= m <= usual * MOST_FACTOR]
    if len(known) < LEAST:
        return configured
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(known, 2) if a[0] != b[0]]
    slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    base = statistics.median(minutes - slope * n for n, minutes in known)
    if base < 0:  # the line through the origin instead
        base, slope = 0.0, statistics.median(minutes / n for n, minutes in known if n > 0)
    return Effort(base, slope, len(known))
