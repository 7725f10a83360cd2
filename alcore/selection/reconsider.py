"""Suggestions that nobody has begun, looked at again when the pool has changed: which are clearly no longer among the best?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from alcore.index import NEAR_DUPLICATE
from alcore.selection import content
from alcore.selection.batch import WHOLE_POOL, Selection, choose
from alcore.selection.guided import EFFORT
from alcore.selection.port import Choice, Pool, Positions, Request
from alcore.selection.spread import Places
from alcore.types import PoolPosition

CLEARLY = 0.5
"""A waiting suggestion goes when it is worth less than this share of the least of what would be chosen afresh. Without such a
margin the queue would turn over with every volume, under the eyes of those who are about to begin."""
MOST = 0.5
"""At most this share of what waits is exchanged at once, for being worth less; what is broken goes in any number."""


@dataclass(frozen=True)
class Reconsidered:
    """taken_back: (position, why in words), the worst first. instead: what takes their place, at most as many. selection: what
    would be chosen afresh, with its QC list."""

    taken_back: list[tuple[PoolPosition, str]]
    instead: list[Choice]
    selection: Selection


def reconsider(pool: Pool, request: Request, waiting: Positions, strategy: str) -> Reconsidered:
    """Compare what waits with what the strategy would choose now in its place.

    waiting: positions of suggestions that nobody has begun, all chosen by the strategy; a part of request.covered. The worth of
    a patch is its cosine distance to the nearest covered, or kept, or earlier chosen patch, with the strategy `guided` per
    expected minute as it counts them. What is drawn at random is never worth less, so the strategy "random" takes nothing back
    for that. "coreset" knows neither copies nor overlap: what takes a place is what its rule picks beside what is kept.
    """
    waiting = np.unique(waiting).astype(np.int64)
    rest = np.setdiff1d(request.covered, waiting).astype(np.int64)
    afresh = choose(pool, replace(request, covered=rest, n=len(waiting), control_share=0.0), strategy)
    again = {int(c.position) for c in afresh.choices}
    broken = {int(f.position): f.reason for f in afresh.qc if f.position in waiting}
    distance = _distances(pool, waiting, rest)
    worth = distance / _effort(pool, request, waiting, strategy)
    chosen = [c for c in afresh.choices if c.distance is not None]
    least = _least(pool, request, chosen, strategy)
    order = np.argsort(worth, kind="stable")
    gone = [(PoolPosition(p), why) for p, why in broken.items()]
    n_most = math.ceil(MOST * len(waiting))
    for i in order:
        position = int(waiting[i])
        if position in again or position in broken or strategy == "random":
            continue
        if distance[i] < NEAR_DUPLICATE and strategy != WHOLE_POOL:
            gone.append((PoolPosition(position), "the same is labelled, skipped or asked about by now"))
        elif n_most > 0 and least is not None and worth[i] < CLEARLY * least:
            gone.append((PoolPosition(position), "others that came since are clearly newer to what is labelled"))
            n_most -= 1
    kept = np.setdiff1d(waiting, [p for p, _ in gone]).astype(np.int64)
    if strategy == WHOLE_POOL:
        instead = _by_the_rule(pool, request, waiting, np.union1d(rest, kept).astype(np.int64), len(gone))
    else:
        instead = _instead(pool, afresh.choices, waiting, rest, kept, len(gone))
    return Reconsidered(gone, instead, afresh)


def _distances(pool: Pool, waiting: Positions, rest: Positions) -> npt.NDArray[np.float64]:
    """Distance of each that waits, in the order in which the farthest comes first: each beside those before."""
    distance = np.full(len(waiting), 2.0)
    if len(rest):
        distance = np.maximum(0.0, 1 - (pool.embeddings[waiting] @ pool.embeddings[rest].T).max(axis=1)).astype(
            np.float64
        )
    judged = np.zeros(len(waiting), bool)
    for _ in range(len(waiting)):
        best = int(np.where(judged, -1.0, distance).argmax())
        judged[best] = True
        beside = np.maximum(0.0, 1 - pool.embeddings[waiting] @ pool.embeddings[waiting[best]]).astype(np.float64)
        distance = np.where(judged, distance, np.minimum(distance, beside))
    return distance


def _effort(pool: Pool, request: Request, positions: Positions, strategy: str) -> npt.NDArray[np.float64]:
    if strategy != "guided":
        return np.ones(len(positions))
    found: npt.NDArray[np.float64] = np.maximum(content.minutes(pool, positions, request), 1e-6) ** EFFORT
    return found


def _least(pool: Pool, request: Request, chosen: Sequence[Choice], strategy: str) -> float | None:
    """The least worth among what would be chosen afresh; None where no distance is known."""
    if not chosen:
        return None
    positions = np.array([c.position for c in chosen], np.int64)
    distance = np.array([c.distance for c in chosen], np.float64)
    return float((distance / _effort(pool, request, positions, strategy)).min())


def _by_the_rule(pool: Pool, request: Request, waiting: Positions, covered: Positions, n: int) -> list[Choice]:
    """The first n that the core-set picks beside what is covered, but for those that were waiting."""
    if not n:
        return []
    asked = replace(request, covered=covered, n=2 * n, control_share=0.0)
    known = {int(p) for p in waiting}
    return [c for c in choose(pool, asked, WHOLE_POOL).choices if int(c.position) not in known][:n]


def _instead(
    pool: Pool, choices: Sequence[Choice], waiting: Positions, rest: Positions, kept: Positions, n: int
) -> list[Choice]:
    """The first n of the choices that neither overlap nor repeat what waits, with their distance beside what is kept.

    What is taken back counts too: whoever has begun with one meanwhile keeps it.
    """
    places, beside = Places(pool), np.union1d(rest, kept).astype(np.int64)
    taken = {int(p) for w in waiting for p in places.overlapping(int(w))}
    found: list[Choice] = []
    for choice in choices:
        if len(found) == n:
            break
        row = pool.embeddings[choice.position]
        if int(choice.position) in taken or (pool.embeddings[waiting] @ row).max() > 1 - NEAR_DUPLICATE:
            continue
        if len(beside):
            similarity = pool.embeddings[beside] @ row
            best = int(similarity.argmax())
            distance = max(0.0, 1 - float(similarity[best]))
            if distance < NEAR_DUPLICATE:
                continue
            choice = replace(choice, distance=distance, nearest=PoolPosition(int(beside[best])))
        found.append(choice)
        beside = np.append(beside, int(choice.position))
    return found
