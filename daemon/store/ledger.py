"""The minutes ledger, read-only: what each label and each skipped patch took, and what the minutes of each round bought."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.people import name_of
from daemon.store.label_keys import SEEN
from daemon.store.schema_claims import TAKEN_BACK

_LEDGER = """
SELECT r.id, r.suggestion_id, r.author, r.received_at, r.note, s.why, s.repeat_of, COALESCE(l.n_objects, t.n_objects) AS n_objects,
  l.id AS label_id, (SELECT MIN(u.round) FROM round_label u WHERE u.label_id = l.id) AS round
FROM received r JOIN suggestion s ON s.id = r.suggestion_id
LEFT JOIN label l ON l.received_id = r.id LEFT JOIN repeat_label t ON t.received_id = r.id
WHERE r.state = 'accepted' {} ORDER BY r.id
"""


@dataclass(frozen=True)
class Entry:
    """An accepted label and the work behind it. minutes: of active editing, None where the tool does not tell, as clicks and
    changed_voxels (against the pseudo-label). expected: objects that were expected when the patch was chosen. round: the first
    that used it. repeat: the second label of a blind repeat."""

    received: int
    suggestion: str
    user: str
    at: float
    n_objects: int
    minutes: float | None
    clicks: int | None
    changed_voxels: int | None
    expected: float | None
    round: int | None
    repeat: bool


@dataclass(frozen=True)
class Skip:
    """A patch that somebody skipped, of which no label came after all: then the minutes are in that label's. user: "" where
    nobody was named; kind: of `daemon.store.schema_claims.SKIP_REASONS`; minutes: as in `Entry`."""

    suggestion: str
    user: str
    at: float
    kind: str
    minutes: float | None


@dataclass(frozen=True)
class Spent:
    """Sums over some labels. timed: how many of them have minutes."""

    labels: int = 0
    timed: int = 0
    minutes: float = 0.0
    objects: int = 0
    clicks: int = 0
    changed_voxels: int = 0


@dataclass(frozen=True)
class Bought:
    """A finished round: the labels that it was the first to use, what they took, and what it gained over the model in use
    before it, in F1 and Dice on the same held-out labels; None for the first, and where either was not judged on them."""

    round: int
    spent: Spent
    f1: float | None
    dice: float | None
    promoted: bool


@dataclass(frozen=True)
class Today:
    """What a user did since a moment. minutes: on labels. skipped: patches, skipped_minutes: on them. since_round: training
    labels of everybody that no round has used yet."""

    labels: int
    objects: int
    minutes: float
    since_round: int
    skipped: int = 0
    skipped_minutes: float = 0.0

    def words(self) -> str:
        """One line for people."""
        took = f", {self.minutes:.0f} min" if self.minutes else ""
        words = f"{self.labels} label{'s' if self.labels != 1 else ''} today ({self.objects} objects{took})"
        words = words if self.labels else "no label yet today"
        took = f" ({self.skipped_minutes:.0f} min)" if self.skipped_minutes else ""
        return f"{words}, {self.skipped} skipped{took}" if self.skipped else words


def entries(db: sqlite3.Connection, since: float | None = None) -> list[Entry]:
    """Every accepted label, oldest first; with `since` (seconds since the epoch) only those that came in later."""
    where, arguments = ("", []) if since is None else ("AND r.received_at >= ?", [since])
    cursor = db.execute(_LEDGER.format(where), arguments)
    names = [column[0] for column in cursor.description]
    return [_entry(dict(zip(names, row, strict=True))) for row in cursor]


def skips(db: sqlite3.Connection, since: float = -math.inf) -> list[Skip]:
    """Every patch that people skipped, oldest first; with `since` (seconds since the epoch) only those skipped later."""
    kinds = dict(
        db.execute("SELECT id, skip_kind FROM suggestion WHERE state = 'skipped' AND skip_kind <> ?", [TAKEN_BACK])
    )
    last: dict[str, Skip] = {}
    for arguments, at in db.execute("SELECT arguments, at FROM command WHERE verb = 'skip' AND ok = 1 ORDER BY id"):
        said = _mapping(arguments)
        name, seconds = str(said.get("id")), _number(_mapping(said.get("work")).get("active_s"))
        if name in kinds:
            last.pop(name, None)
            minutes = None if seconds is None else seconds / 60
            last[name] = Skip(name, name_of(said.get("user")), float(at), str(kinds[name]), minutes)
    return [skip for skip in last.values() if skip.at >= since]


def _entry(r: Mapping[str, object]) -> Entry:
    work = _mapping(_mapping(r["note"]).get("work"))
    expected = _number(_mapping(r["why"]).get("n_objects"))
    clicks, changed = _number(work.get("clicks")), _number(work.get("changed_voxels"))
    return Entry(
        received=int(str(r["id"])),
        suggestion=str(r["suggestion_id"]),
        user=str(r["author"]),
        at=float(str(r["received_at"])),
        n_objects=int(str(r["n_objects"] or 0)),
        minutes=active_minutes(str(r["note"])),
        clicks=None if clicks is None else int(clicks),
        changed_voxels=None if changed is None else int(changed),
        expected=expected,
        round=None if r["round"] is None else int(str(r["round"])),
        repeat=r["repeat_of"] is not None,
    )


def active_minutes(note: str) -> float | None:
    """Minutes of active editing that were told with a label file; None where the tool did not."""
    seconds = _number(_mapping(_mapping(note).get("work")).get("active_s"))
    return None if seconds is None else seconds / 60


def _mapping(value: object) -> Mapping[str, object]:
    """A JSON object as it is stored or parsed; what is none counts as empty."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    """A figure that a window told, or None for what is no number, negative, or endless."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e15 else None


def spent(found: Sequence[Entry]) -> Spent:
    """The sums of some labels."""
    return Spent(
        labels=len(found),
        timed=sum(e.minutes is not None for e in found),
        minutes=sum(e.minutes or 0.0 for e in found),
        objects=sum(e.n_objects for e in found),
        clicks=sum(e.clicks or 0 for e in found),
        changed_voxels=sum(e.changed_voxels or 0 for e in found),
    )


def by(found: Sequence[Entry], key: str) -> dict[str, Spent]:
    """The sums by "user", or by "day" ("2026-11-25", of the local calendar), in order of the first label."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for e in found:
        groups[e.user if key == "user" else time.strftime("%Y-%m-%d", time.localtime(e.at))].append(e)
    return {name: spent(members) for name, members in groups.items()}


def timed(found: Sequence[Entry]) -> list[tuple[float, float]]:
    """(objects expected, minutes) of the labels of which both are known, oldest first: what `daemon.effort.fit` goes by."""
    return [(e.expected, e.minutes) for e in found if e.expected is not None and e.minutes is not None]


def bought(db: sqlite3.Connection, found: Sequence[Entry]) -> list[Bought]:
    """Every finished round with what its new labels took and what it gained, oldest first."""
    rows = db.execute("SELECT number, model, promoted FROM round WHERE state = 'done' ORDER BY number").fetchall()
    in_use: str | None = None
    out = []
    for number, model, promoted in rows:
        now, before = _judged(db, model, in_use)
        gain = {name: _gain(now.get(name), before.get(name)) for name in ("f1", "dice")}
        new = [e for e in found if e.round == number]
        out.append(Bought(number, spent(new), gain["f1"], gain["dice"], bool(promoted)))
        in_use = model if promoted else in_use
    return out


def _judged(
    db: sqlite3.Connection, model: str | None, before: str | None
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Scores of two models on the same held-out labels, those that the first was judged on last; empty where unknown."""
    sql = (
        "SELECT a.scores, b.scores FROM evaluation a LEFT JOIN evaluation b ON b.labels_digest = a.labels_digest AND b.model = ?"
        " WHERE a.model = ? ORDER BY b.scores IS NULL, a.created_at DESC, b.created_at DESC LIMIT 1"
    )
    row = db.execute(sql, [before, model]).fetchone()
    return (_mapping(row[0]), _mapping(row[1])) if row is not None else ({}, {})


def _gain(now: object, before: object) -> float | None:
    a, b = _number(now), _number(before)
    return None if a is None or b is None else a - b


def progress_since(db: sqlite3.Connection, user: str, since: float) -> Today:
    """What a user did since a moment (seconds since the epoch)."""
    mine = spent([e for e in entries(db, since) if e.user == user])
    passed = [s for s in skips(db, since) if s.user == user]
    waiting = f"SELECT COUNT(*) FROM label l WHERE l.superseded_by IS NULL AND l.role = 'train' AND NOT {SEEN}"
    new = int(db.execute(waiting).fetchone()[0])
    return Today(mine.labels, mine.objects, mine.minutes, new, len(passed), sum(s.minutes or 0.0 for s in passed))
