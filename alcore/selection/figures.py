"""The numbers that go with every suggestion, whatever chose it: how typical, what is expected in it, how unsure the model, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alcore.selection import content, coverage
from alcore.selection.port import Choice, Pool, Request


def explained(pool: Pool, request: Request, choices: Sequence[Choice], rng: np.random.Generator) -> list[Choice]:
    """The choices with these in their `why`, where their strategy has not said so itself: the known traits, density (mean kernel
    value with a draw of the pool, 0..1, see `coverage.Coverage.density`), uncertainty where a model says it, minutes."""
    if not choices:
        return []
    positions = np.array([choice.position for choice in choices], np.int64)
    drawn = coverage.some(np.arange(len(pool), dtype=np.int64), coverage.REFERENCE, rng)
    reference = pool.embeddings[drawn]
    width = coverage.bandwidth(reference, rng)
    density = coverage.kernel(pool.embeddings[positions], reference, width).mean(axis=1)
    unsure = content.uncertainty(pool, positions)
    minutes = content.minutes(pool, np.concatenate([positions, drawn]), request)[: len(positions)]
    out = []
    for i, choice in enumerate(choices):
        figures = content.known_figures(pool, choice.position)
        figures |= {"density": float(density[i]), "minutes": float(minutes[i])}
        if np.isfinite(unsure[i]):
            figures["uncertainty"] = float(unsure[i])
        out.append(replace(choice, why=figures | dict(choice.why)))
    return out
