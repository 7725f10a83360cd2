"""Strategy guided, the default for people: coverage of what matters, per minute of the expert's time.

Greedy weighted coverage (Bae, Oh, Sutherland 2025, "Uncertainty Herding"; see `alcore.selection.coverage`): a patch is worth
what it adds to the coverage of the pool, where a place in the pool counts by what a label there can teach. While labels are
few that is the content that the pseudo-labels found (the lesson of foreground-aware random: Lüth et al. 2025, nnActive), once
a gated model exists more and more its uncertainty. The kernel narrows as the covered patches come closer to everything, so
that representative patches come first and fine coverage next. Expected minutes are in the denominator.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alcore.selection import content, coverage
from alcore.selection.port import Choice, Pool, Positions, Request, spread_evenly
from alcore.selection.spread import Room
from alcore.types import PoolPosition

FLOOR = 0.1
"""Weight of a patch without any expected content, beside 1 for the richest: pseudo-labels miss things."""
TRUST = 16
"""Labels behind the model at which its uncertainty counts as much as the expected content."""
MOST_TRUST = 0.75
"""Share that uncertainty has at most."""
EFFORT = 0.5
"""Power of the minutes in the denominator: expected minutes are rough, and beginning a patch costs time too."""


def guided(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy. Candidates and the pool are represented by bounded uniform draws (see `alcore.selection.coverage`)."""
    everything = np.union1d(room.open(), request.covered).astype(np.int64)
    while len(free := room.open()):
        candidates = coverage.some(free, coverage.CANDIDATES, rng)
        reference = coverage.some(everything, coverage.REFERENCE, rng)
        worth = value(pool, np.concatenate([candidates, reference]), request)
        width = narrowed(pool, reference, request.covered, coverage.bandwidth(pool.embeddings[reference], rng))
        state = coverage.Coverage(
            pool.embeddings[candidates], pool.embeddings[reference], worth[len(candidates) :], width
        )
        state.cover(pool.embeddings[request.covered])
        worth = worth[: len(candidates)]
        minutes = content.minutes(pool, candidates, request)
        explain = Explain(pool, candidates, state.density(), request)
        seen = 0
        while len(alive := np.flatnonzero(room.free[candidates])):
            state.cover(pool.embeddings[room.taken[seen:]])
            seen = len(room.taken)
            gains = state.gains(alive)
            score = gains * worth[alive] / np.maximum(minutes[alive], 1e-6) ** EFFORT
            best = int(score.argmax())
            c = int(alive[best])
            numbers = {"score": float(score[best]), "gain": float(gains[best]), "minutes": float(minutes[c])}
            reason, why = explain(c)
            yield Choice(PoolPosition(int(candidates[c])), "selected", reason, numbers | why)


def value(pool: Pool, positions: Positions, request: Request) -> npt.NDArray[np.float64]:
    """What a label is worth by what a patch holds, in `FLOOR`..1: expected content, and the model's uncertainty."""
    unsure = content.uncertainty(pool, positions)
    share = trust(request.n_gated) if np.isfinite(unsure).any() else 0.0
    mixed = (1 - share) * content.interest(pool, positions) + share * spread_evenly(unsure)
    found: npt.NDArray[np.float64] = FLOOR + (1 - FLOOR) * mixed
    return found


def trust(n_gated: int) -> float:
    """Share of the model's uncertainty in the value of a patch; 0 without a gated model."""
    return min(MOST_TRUST, n_gated / (n_gated + TRUST)) if n_gated > 0 else 0.0


def narrowed(pool: Pool, reference: Positions, covered: Positions, width: float) -> float:
    """The bandwidth, or the median squared distance of the pool to what is covered once that is smaller."""
    if not len(covered):
        return width
    rows = pool.embeddings[reference]
    nearest = np.full(len(rows), -np.inf, np.float32)
    for begin in range(0, len(covered), coverage.BLOCK):
        found = rows @ pool.embeddings[covered[begin : begin + coverage.BLOCK]].T
        np.maximum(nearest, found.max(axis=1), out=nearest)
    return max(min(width, float(np.median(2 - 2 * nearest))), 1e-6)


class Explain:
    """Why a candidate, in words and numbers, by how it stands among all candidates."""

    def __init__(self, pool: Pool, candidates: Positions, density: npt.NDArray[np.float64], request: Request) -> None:
        self._pool, self._candidates, self._density = pool, candidates, density
        self._typical = spread_evenly(density)
        self._rich = content.interest(pool, candidates)
        self._objects = pool.trait("n_objects", candidates)
        self._foreground = pool.trait("foreground", candidates)
        self._unsure = content.uncertainty(pool, candidates)
        self._model = request.n_gated > 0 and bool(np.isfinite(self._unsure).any())
        self._doubtful = spread_evenly(self._unsure)
        self._first = not len(request.covered)

    def __call__(self, c: int) -> tuple[str, dict[str, float]]:
        """(one sentence, numbers by name) for candidate number `c`."""
        parts = ["typical of many patches" if self._typical[c] >= 0.5 else "unlike what most patches show"]
        if self._first:
            parts.append("nothing is labelled yet")
        if np.isfinite(self._foreground[c]):
            about = f"about {self._objects[c]:.0f} objects, " if np.isfinite(self._objects[c]) else ""
            rich = "many" if self._rich[c] >= 0.67 else "some" if self._rich[c] >= 0.33 else "few"
            parts.append(f"with {rich} objects to learn from ({about}{self._foreground[c]:.0%} of it)")
        if self._model and np.isfinite(self._unsure[c]):
            parts.append(f"the model is {'unsure' if self._doubtful[c] >= 0.67 else 'fairly sure'} here")
        why = content.known_figures(self._pool, int(self._candidates[c])) | {"density": float(self._density[c])}
        if np.isfinite(self._unsure[c]):
            why["uncertainty"] = float(self._unsure[c])
        return ", ".join(parts), why
