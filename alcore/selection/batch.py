"""One batch of suggestions: who may be chosen, who chooses, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from alcore.index import NEAR_DUPLICATE
from alcore.selection import quality
from alcore.selection.control import control, is_control
from alcore.selection.coreset import coreset
from alcore.selection.coverage import BLOCK, some
from alcore.selection.figures import explained
from alcore.selection.foreground import foreground
from alcore.selection.guided import guided
from alcore.selection.herding import herding
from alcore.selection.port import Choice, Flaw, Mask, Pool, Positions, Request, Strategy
from alcore.selection.spread import Room, most_per_volume, overlapping_any
from alcore.selection.steering import alike, dulled, like_avoided
from alcore.selection.typiclust import typiclust
from alcore.selection.uncertainty import uncertainty
from alcore.selection.uniform import uniform
from alcore.types import PoolPosition

STRATEGIES: Mapping[str, Strategy] = {
    "guided": guided,
    "coreset": coreset,
    "random": uniform,
    "foreground": foreground,
    "typiclust": typiclust,
    "herding": herding,
    "uncertainty": uncertainty,
}
WHOLE_POOL = "coreset"
"""The paper's rule looks at the whole pool: no QC, no spread, near-duplicates included."""

WINDOW = 24_576
"""Every other strategy looks at a fresh uniform draw of so many patches per batch when there are more: no cost grows with the
pool, and the best of so many is as good as the best of all for a person who labels tens."""


@dataclass(frozen=True)
class Selection:
    """choices in order. qc: what looks broken. eligible: patches that could be chosen. duplicates: near-duplicates of
    covered patches among those looked at. notes: what a person should know. looked_at: ascending positions of which qc tells
    whether they look broken, or which cannot be chosen anyway; None for the whole pool."""

    choices: list[Choice]
    qc: list[Flaw]
    eligible: int
    duplicates: int
    notes: list[str]
    looked_at: Positions | None = field(default=None, compare=False)


def choose(pool: Pool, request: Request, strategy: str) -> Selection:
    """Up to `request.n` patches, fewer when no more are eligible. The same arguments give the same answer.

    Raises ValueError for a strategy that does not exist, or positions outside the pool.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} does not exist; known: {', '.join(STRATEGIES)}")
    given = {
        "covered": request.covered,
        "labelled": request.labelled,
        "avoid": request.avoid,
        "nothing": request.nothing,
    }
    for name, positions in given.items():
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(pool)):
            raise ValueError(f"{name} positions must be in 0..{len(pool) - 1}")
    covered = np.unique(request.covered).astype(np.int64)
    request = replace(request, covered=covered)
    chosen, drawn, looked = _streams(request, strategy)
    notes: list[str] = []
    qc: list[Flaw] = []
    duplicates = 0
    told_of: Positions | None = None
    eligible = np.ones(len(pool), bool)
    eligible[covered] = False
    if strategy == WHOLE_POOL:
        told_of = np.empty(0, np.int64)
        room = Room(pool, eligible, spread=False)
    else:
        eligible &= ~overlapping_any(pool, covered)
        looked_at = some(np.flatnonzero(eligible), WINDOW, looked)
        if len(looked_at) < eligible.sum():
            notes.append(f"{len(looked_at)} of {eligible.sum()} free patches were looked at, drawn at random")
            told_of = np.union1d(np.flatnonzero(~eligible), looked_at)
        duplicate = looked_at[near_covered(pool, looked_at, covered)]
        duplicates = len(duplicate)
        qc = quality.flaws(pool, looked_at, covered, looked)
        if pool.flat is not None and len(looked_at) and pool.flat[looked_at].all():
            notes.append("nothing varies in any patch that was looked at: constant or without finite values")
        if len(request.avoid) or len(request.nothing):
            near = alike(pool)
            known = {flaw.position for flaw in qc}
            avoided = like_avoided(pool, looked_at, request.avoid, request.labelled, near)
            qc = [*qc, *(flaw for flaw in avoided if flaw.position not in known)]
            pool = dulled(pool, request.nothing, near)
        eligible[:] = False
        eligible[looked_at] = True
        eligible[duplicate] = False
        eligible[[flaw.position for flaw in qc]] = False
        room = Room(pool, eligible, most_per_volume(pool, eligible, request.n, request.volume_share))
    if strategy == "uncertainty" and not request.n_gated:
        notes.append("no model has passed its gate yet: the strategy uncertainty draws at random until one has")
    choices = list(_batch(pool, request, room, STRATEGIES[strategy](pool, request, room, chosen), drawn))
    if room.copies:
        notes.append(f"left out because a chosen patch shows the same: {room.copies}")
    if len(choices) < request.n:
        capped = " (the others are of volumes that have their share)" if room.capped else ""
        notes.append(f"{len(choices)} of {request.n} wanted: no more patches are eligible{capped}")
    # figures of a patch depend on the pool, not on chance: the same patch in the next batch has the same
    told = explained(pool, request, choices, np.random.default_rng(len(pool)))
    return Selection(told, qc, int(eligible.sum()), duplicates, notes, told_of)


def _streams(request: Request, strategy: str) -> list[np.random.Generator]:
    """Random numbers of the strategy, the control arm, and what is looked at: what one draws does not change another's.

    The next batch has others, or chance would favour the same places of the pool every time. The core-set needs them for its
    seeds only, and has those of the seed alone.
    """
    now = [request.seed, request.n_before, len(request.covered)]
    own: list[int] | int = request.seed if strategy == WHOLE_POOL else [*now, 0]
    return [np.random.default_rng(seed) for seed in (own, [*now, 1], [*now, 2])]


def _batch(
    pool: Pool, request: Request, room: Room, picks: Iterator[Choice], drawn: np.random.Generator
) -> Iterator[Choice]:
    """Choices of the strategy and of the control arm in their turns, with the nearest covered or earlier choice."""
    controls = control(pool, request, room, drawn)
    rows = pool.embeddings[request.covered]
    known = [int(p) for p in request.covered]
    for i in range(request.n):
        source = controls if is_control(request.n_before + i, request.control_share) else picks
        choice = next(source, None)
        if choice is None:
            return
        room.take(choice.position)
        row = pool.embeddings[choice.position]
        if known and choice.distance is None:
            similarity = rows @ row
            best = int(similarity.argmax())
            distance = max(0.0, 1 - float(similarity[best]))
            choice = replace(choice, distance=distance, nearest=PoolPosition(known[best]))
        yield choice
        rows = np.concatenate([rows, row[None]])
        known.append(int(choice.position))


def near_covered(pool: Pool, positions: Positions, covered: Positions) -> Mask:
    """(n,) bool: which of these patches show the same as a covered one, within `NEAR_DUPLICATE`."""
    found = np.zeros(len(positions), bool)
    if not len(covered):
        return found
    centres = pool.embeddings[covered]
    for begin in range(0, len(positions), BLOCK):
        part = pool.embeddings[positions[begin : begin + BLOCK]]
        found[begin : begin + BLOCK] = (part @ centres.T).max(axis=1) >= 1 - NEAR_DUPLICATE
    return found


def nearest_labelled(pool: Pool, position: int, labelled: Positions, most: int = 3) -> list[tuple[PoolPosition, float]]:
    """The nearest labelled patches of one patch, with their cosine distances, nearest first."""
    labelled = np.unique(labelled).astype(np.int64)
    labelled = labelled[labelled != position]
    if not len(labelled):
        return []
    distance = np.maximum(0.0, 1 - (pool.embeddings[labelled] @ pool.embeddings[position]).astype(np.float64))
    order = np.argsort(distance, kind="stable")[:most]
    return [(PoolPosition(int(labelled[i])), float(distance[i])) for i in order]
