"""Read-only views of the expert's queue and of the QC queue beside it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from daemon.store.connection import FULL_NAME

WAITS = ("open", "claimed", "submitted", "rejected")
"""States of suggestions that are listed in the queue."""
_PLACE = f"{FULL_NAME} AS volume, p.z, p.y, p.x, p.dz, p.dy, p.dx"


@dataclass(frozen=True)
class NeighbourView:
    """A labelled patch that a suggestion looked like when it was made. distance: cosine. number: that of its picture in the
    suggestion's folder, nearest_<number>.png."""

    suggestion: str
    volume: str
    start: tuple[int, int, int]
    distance: float
    number: int


@dataclass(frozen=True)
class SuggestionView:
    """A suggestion in any state. published: queue/<id> is there for people. distance: cosine, to the nearest patch suggested
    before, which is suggestion `nearest`. rank: its place among those that wait, from 1; None where it does not. arm: selected,
    control or asked. why: the numbers behind the choice by name."""

    id: str
    volume: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    rank: int | None
    distance: float | None
    state: str
    reason: str
    note: str
    published: bool
    arm: str
    why: Mapping[str, float]
    nearest: str | None
    neighbours: tuple[NeighbourView, ...]


@dataclass(frozen=True)
class HeldView:
    """A patch that is not suggested because it looks broken. score: how far beyond the limit of the rule, from 1."""

    id: str
    volume: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    reason: str
    score: float
    found_at: float


def suggestion(db: sqlite3.Connection, suggestion_id: str) -> SuggestionView | None:
    """One suggestion in any state, or None."""
    r = db.execute(
        f"SELECT s.*, {_PLACE}, t.id AS near, (SELECT COUNT(*) FROM suggestion o WHERE o.rank <= s.rank"
        f" AND o.state IN {WAITS}) AS place FROM suggestion s JOIN patch p ON p.id = s.patch_id"
        " JOIN volume v ON v.id = p.volume_id LEFT JOIN suggestion t ON t.patch_id = s.nearest AND t.repeat_of IS NULL WHERE s.id = ?",
        [suggestion_id],
    ).fetchone()
    if r is None:
        return None
    return SuggestionView(
        id=r["id"],
        volume=r["volume"],
        start=(r["z"], r["y"], r["x"]),
        shape=(r["dz"], r["dy"], r["dx"]),
        rank=r["place"] if r["state"] in WAITS else None,
        distance=r["distance"],
        state=r["state"],
        reason=r["reason"],
        note=r["note"],
        published=bool(r["published"]),
        arm=r["arm"],
        why=json.loads(r["why"]),
        nearest=r["near"],
        neighbours=_neighbours(db, suggestion_id),
    )


def _neighbours(db: sqlite3.Connection, suggestion_id: str) -> tuple[NeighbourView, ...]:
    rows = db.execute(
        f"SELECT t.id, {_PLACE}, n.value ->> 'distance' AS distance FROM suggestion s, json_each(s.neighbours) n"
        " JOIN suggestion t ON t.patch_id = n.value ->> 'patch' AND t.repeat_of IS NULL JOIN patch p ON p.id = t.patch_id"
        " JOIN volume v ON v.id = p.volume_id WHERE s.id = ? AND t.package IS NOT NULL ORDER BY n.key",
        [suggestion_id],
    )
    return tuple(
        NeighbourView(r["id"], r["volume"], (r["z"], r["y"], r["x"]), r["distance"], number)
        for number, r in enumerate(rows, start=1)
    )


def held_back(db: sqlite3.Connection) -> list[HeldView]:
    """The QC queue, the worst first."""
    rows = db.execute(
        f"SELECT q.*, {_PLACE} FROM qc q JOIN patch p ON p.id = q.patch_id JOIN volume v ON v.id = p.volume_id"
        " WHERE q.state = 'held' ORDER BY q.score DESC, q.patch_id"
    )
    return [
        HeldView(
            id=f"q{r['patch_id']:05d}",
            volume=r["volume"],
            start=(r["z"], r["y"], r["x"]),
            shape=(r["dz"], r["dy"], r["dx"]),
            reason=r["reason"],
            score=r["score"],
            found_at=r["found_at"],
        )
        for r in rows
    ]
