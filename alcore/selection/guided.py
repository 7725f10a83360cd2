"""Strategy guided, the default for people: varied, where there is something to learn, per minute of the expert's time.

For each patch a few candidates are drawn as foreground-aware random does (Lüth et al. 2025, nnActive), and of those the one is
taken that is farthest from everything covered (k-center, Sener & Savarese 2018) per minute: that keeps the mixture of rich and
poor patches, spreads it, and cannot chase outliers; with enough labels behind a gated model, its uncertainty takes a growing
part in the draw. Where nothing is known of the content, the most typical patches come first (MaxHerding, Bae et al. 2024). Of
some thirty rules tried with the fast learner on one EM volume, those that weighted coverage or distance by content took rich
patches only and fell behind, and so did those that began with typical ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alcore.selection import content, coverage
from alcore.selection.foreground import probabilities
from alcore.selection.port import Choice, Float32, Pool, Positions, Request, spread_evenly
from alcore.selection.spread import Room
from alcore.types import PoolPosition

DRAWN = 4
"""Candidates drawn by content for every patch but the very first, which is the first drawn: with more of them, distance would
decide alone, and find outliers."""
TRUSTED = 16
"""Labels behind a gated model from which on its uncertainty counts: with fewer it misled every learner tried."""
HALF = 48
"""Labels at which the model's uncertainty has as much weight as the expected content."""
MOST_TRUST = 0.75
"""Share of the draws that uncertainty has at most."""
EFFORT = 0.5
"""Power of the minutes in the denominator: expected minutes are rough, and beginning a patch costs time too."""


def guided(pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
    """A Strategy. Candidates and the pool are represented by bounded uniform draws (see `alcore.selection.coverage`)."""
    everything = np.union1d(room.open(), request.covered).astype(np.int64)
    while len(free := room.open()):
        candidates, state = coverage.begun(pool, free, everything, request.covered, rng)
        far = Farthest(pool.embeddings[candidates], pool.embeddings[request.covered])
        effort = np.maximum(content.minutes(pool, candidates, request), 1e-6) ** EFFORT
        chances = draw_chances(pool, candidates, request)
        explain = Explain(pool, candidates, state.density(), request)
        seen = 0
        while len(alive := np.flatnonzero(room.free[candidates])):
            latest = pool.embeddings[room.taken[seen:]]
            state.cover(latest)
            far.cover(latest)
            seen = len(room.taken)
            begun = len(request.covered) + seen > 0
            looked = alive if chances is None else drawn(alive, chances[alive], DRAWN if begun else 1, rng)
            gain = state.gains(looked)
            score = (gain if chances is None else far.distance[looked]) / effort[looked]
            best = int(score.argmax())
            c = int(looked[best])
            numbers = {
                "score": float(score[best]),
                "gain": float(gain[best]),
                "minutes": float(effort[c] ** (1 / EFFORT)),
            }
            reason, why = explain(c)
            yield Choice(PoolPosition(int(candidates[c])), "selected", reason, numbers | why)


class Farthest:
    """Cosine distance of each candidate to the nearest covered row, 2 (the largest) while nothing is covered."""

    def __init__(self, candidates: Float32, covered: Float32) -> None:
        self._candidates = candidates
        self.distance = np.full(len(candidates), 2.0)
        for begin in range(0, len(covered), coverage.BLOCK):
            self.cover(covered[begin : begin + coverage.BLOCK])

    def cover(self, rows: Float32) -> None:
        """Take these embeddings into account as covered."""
        if len(rows):
            nearest = 1 - (self._candidates @ rows.T).max(axis=1).astype(np.float64)
            np.minimum(self.distance, np.maximum(nearest, 0), out=self.distance)


def draw_chances(pool: Pool, positions: Positions, request: Request) -> npt.NDArray[np.float64] | None:
    """Chance of each of these patches to be drawn as a candidate, by expected content and the model's uncertainty.

    None where neither is known: then coverage decides alone.
    """
    unsure = content.uncertainty(pool, positions)
    share = trust(request.n_gated) if np.isfinite(unsure).any() else 0.0
    if not share and not np.isfinite(content.matter(pool, positions)).any():
        return None
    by_content = probabilities(pool, positions)
    doubt = spread_evenly(unsure)
    total = doubt.sum()
    return by_content if not share or total <= 0 else (1 - share) * by_content + share * doubt / total


def drawn(alive: Positions, chances: npt.NDArray[np.float64], n: int, rng: np.random.Generator) -> Positions:
    """`n` of the candidates, without repetition, ascending."""
    if len(alive) <= n:
        return alive
    # Efraimidis & Spirakis 2006: the largest u ** (1 / p) are a weighted draw without replacement, also where some p are 0
    with np.errstate(divide="ignore"):
        keys = rng.exponential(size=len(alive)) / chances
    return np.sort(alive[np.argpartition(keys, n - 1)[:n]])


def trust(n_gated: int) -> float:
    """Share of the model's uncertainty in the draw; 0 until `TRUSTED` labels are behind a gated model."""
    return min(MOST_TRUST, n_gated / (n_gated + HALF)) if n_gated >= TRUSTED else 0.0


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
            parts.append("nothing was labelled yet")
        if np.isfinite(self._foreground[c]):
            rich = "much" if self._rich[c] >= 0.67 else "something" if self._rich[c] >= 0.33 else "little"
            parts.append(
                f"{rich} in it to learn from ({_objects(self._objects[c])}{self._foreground[c]:.0%} foreground)"
            )
        if self._model and np.isfinite(self._unsure[c]):
            parts.append(f"the model is {'unsure' if self._doubtful[c] >= 0.67 else 'fairly sure'} here")
        why = content.known_figures(self._pool, int(self._candidates[c])) | {"density": float(self._density[c])}
        if np.isfinite(self._unsure[c]):
            why["uncertainty"] = float(self._unsure[c])
        return ", ".join(parts), why


def _objects(n: float) -> str:
    """A number of expected objects in words, with a comma; "" when it is unknown or there are none."""
    if not np.isfinite(n) or n <= 0:
        return ""
    return "part of an object, " if n < 0.75 else "about 1 object, " if n < 1.5 else f"about {n:.0f} objects, "
