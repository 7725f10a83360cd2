"""Reads the database, and only reads, into one frozen Snapshot: all that status, dashboard and --json show.

It has two halves: what is written down (`facts`), which stays as it is until somebody commits, and what the clock, the lock and the
disk say of it (`as_of`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alcore.disk import is_full
from daemon.effort import Effort, fit
from daemon.machine import JOB_STATES
from daemon.store.alarm_listing import alarms, expected
from daemon.store.claim_listing import all_held, nothing_words, queue_state
from daemon.store.connection import DATABASE, FULL_NAME, open_reader
from daemon.store.label_keys import SEEN
from daemon.store.ledger import Entry, bought, entries, skips, spent, timed
from daemon.store.problems import current_problems, recorded_problems
from daemon.store.quality_listing import advice, quality
from daemon.store.repeat_listing import agreement
from daemon.store.room_listing import room_view
from daemon.store.rows import encoder_name
from daemon.store.views import (
    ControlView,
    DaemonView,
    EncoderView,
    Event,
    ModelView,
    PseudoView,
    QueueItem,
    RoundView,
    RunningJob,
    Snapshot,
    WorkView,
)
from daemon.workspace import read_holder

STALE_S = 60.0
"""A daemon that gave no sign of life for so long is shown as hanging."""


MOST_ALARMS = 20


def snapshot(workspace: Path, now: float) -> Snapshot:
    """Read the state of a workspace. Raises WorkspaceError when there is no database."""
    connection = open_reader(workspace / DATABASE)
    try:
        connection.execute("BEGIN")
        return as_of(connection, facts(connection), workspace, now)
    finally:
        connection.close()


def as_of(db: sqlite3.Connection, found: Snapshot, workspace: Path, now: float) -> Snapshot:
    """What was found by `facts`, with what changes by itself: the daemon's state, a full disk, the time (s since the epoch)."""
    daemon = _daemon(db, workspace, now)
    wrong = current_problems(found.problems, daemon, workspace, now)
    return replace(found, at=now, daemon=daemon, problems=wrong)


def facts(db: sqlite3.Connection) -> Snapshot:
    """All that is written down, the recorded problems among it. It says nothing of now: `as_of` does."""
    done = entries(db)
    return Snapshot(
        at=0.0,
        daemon=DaemonView("never", None, None, None, None, None),
        volumes=_volumes(db),
        patches={
            "total": _count(db, "SELECT COALESCE(SUM(n_patches), 0) FROM volume"),
            "labelled": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL"),
            "held_back": _count(db, "SELECT COUNT(*) FROM qc WHERE state = 'held'"),
        },
        labels={
            "accepted": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL"),
            "train": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL AND role = 'train'"),
            "gate": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL AND role = 'gate'"),
            "new": _count(db, f"SELECT COUNT(*) FROM label l WHERE l.superseded_by IS NULL AND NOT {SEEN}"),
            "rejected": _count(db, "SELECT COUNT(*) FROM received WHERE state = 'rejected'"),
            "asked": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL AND warnings <> '[]'"),
        },
        queue=_queue(db, done),
        jobs=_jobs(db),
        running=tuple(
            RunningJob(r["id"], r["stage"], r["subject"], r["progress"], r["note"], r["started_at"])
            for r in db.execute("SELECT * FROM job WHERE state = 'running' ORDER BY priority DESC, id")
        ),
        models=_models(db),
        rounds=_rounds(db),
        encoders=encoders(db),
        control=_control(db),
        pseudo=_pseudo(db),
        quality=quality(db),
        advice=advice(db),
        problems=tuple(recorded_problems(db)),
        events=tuple(
            Event(r["at"], r["kind"], r["message"]) for r in db.execute("SELECT * FROM event ORDER BY id DESC LIMIT 50")
        ),
        work=_work(db, done),
        alarms=alarms(db, MOST_ALARMS),
        expected=expected(db),
        room=room_view(db),
    )


def _count(db: sqlite3.Connection, sql: str) -> int:
    return int(db.execute(sql).fetchone()[0])


def _jobs(db: sqlite3.Connection) -> dict[str, int]:
    """Jobs by state. Nearly all are done: those are not counted one by one."""
    others = ", ".join(repr(state) for state in JOB_STATES if state != "done")
    counted = db.execute(f"SELECT state, COUNT(*) AS n FROM job WHERE state IN ({others}) GROUP BY state")
    found = {r["state"]: int(r["n"]) for r in counted}
    done = _count(db, "SELECT COUNT(*) FROM job") - sum(found.values())
    return dict(sorted((found | {"done": done}).items())) if done else found


def _daemon(db: sqlite3.Connection, workspace: Path, now: float) -> DaemonView:
    row = db.execute("SELECT * FROM daemon WHERE id = 1").fetchone()
    if row is None:
        return DaemonView("never", None, None, None, None, None)
    holder = read_holder(workspace / "alscope.lock")
    paused = row["paused_until"] is not None and row["paused_until"] > now
    if holder is None:
        state = "stopped" if row["state"] == "stopped" else "crashed"
    elif now - row["seen_at"] > STALE_S and not is_full(workspace):  # nothing can be written, a sign of life neither
        state = "hanging"
    else:
        state = "paused" if paused else "running"
    pid = row["pid"] if holder is not None else None
    until, note = row["paused_until"] if paused else None, row["note"] if holder is not None else ""
    return DaemonView(state, pid, row["started_at"], row["seen_at"], row["version"], until, note)


_VOLUMES_WITH = "SELECT COUNT(*) FROM (SELECT DISTINCT volume_id FROM job WHERE stage = '{}' AND state = 'done' AND volume_id IS NOT NULL)"
"""Walks an index in its order; COUNT(DISTINCT ...) sorts first, at four times the cost."""


def _volumes(db: sqlite3.Connection) -> dict[str, int]:
    counted = db.execute("SELECT state, COUNT(*) AS n FROM source WHERE gone = 0 GROUP BY state")
    sources = {r["state"]: r["n"] for r in counted}
    done = {stage: _count(db, _VOLUMES_WITH.format(stage)) for stage in ("pseudo", "embedding")}
    last = db.execute("SELECT subject FROM job WHERE stage = 'suggestions' AND state = 'done' ORDER BY id DESC LIMIT 1")
    indexed = next((int(r["subject"].split(":")[1]) for r in last), 0)
    return {
        "arriving": sources.get("arriving", 0) + sources.get("settled", 0),
        "set_aside": sources.get("set_aside", 0),
        "ingested": _count(db, "SELECT COUNT(*) FROM volume"),
        "pseudo_labelled": done["pseudo"],
        "embedded": done["embedding"],
        "indexed": indexed,
        "predicted": _count(db, "SELECT COUNT(*) FROM prediction WHERE published = 1"),
        "gone": _count(db, "SELECT COUNT(*) FROM source WHERE gone = 1 AND state = 'ingested'"),
    }


def _queue(db: sqlite3.Connection, done: Sequence[Entry]) -> tuple[QueueItem, ...]:
    held, effort = all_held(db), fit(timed(done), Effort(0.0, 0.0))
    rows = db.execute(
        f"SELECT s.id, {FULL_NAME}, p.z, p.y, p.x, p.dz, p.dy, p.dx, s.distance, s.state, s.reason, s.note, s.published,"
        " s.arm, s.why ->> '$.n_objects', s.why ->> '$.minutes' FROM suggestion s"
        " JOIN patch p ON p.id = s.patch_id JOIN volume v ON v.id = p.volume_id"
        " WHERE s.state IN ('open', 'claimed', 'submitted', 'rejected') ORDER BY s.rank"
    )
    return tuple(
        QueueItem(
            id=name,
            volume=volume,
            start=(z, y, x),
            shape=(dz, dy, dx),
            rank=place,
            distance=distance,
            state=state,
            reason=reason,
            note=note,
            ready=bool(published),
            arm=arm,
            minutes=_minutes(n_objects, minutes, effort),
            user=held[name].user if name in held else "",
            left_s=held[name].left_s if name in held else None,
        )
        for place, (
            name,
            volume,
            z,
            y,
            x,
            dz,
            dy,
            dx,
            distance,
            state,
            reason,
            note,
            published,
            arm,
            n_objects,
            minutes,
        ) in enumerate(rows, 1)
    )


def _minutes(n_objects: float | None, chosen: float | None, effort: Effort) -> float | None:
    """Expected for a patch: by what people needed so far, else as it was when the patch was chosen."""
    fitted = effort.minutes(n_objects) if effort.n else None
    return chosen if fitted is None else fitted


def _work(db: sqlite3.Connection, done: Sequence[Entry]) -> WorkView:
    ready = db.execute("SELECT 1 FROM suggestion WHERE state = 'open' AND published = 1 LIMIT 1").fetchone()
    nothing = nothing_words(queue_state(db)) if ready is None else ""
    return WorkView(spent(done), tuple(bought(db, done)), agreement(db), nothing, tuple(skips(db)))


def _models(db: sqlite3.Connection) -> tuple[ModelView, ...]:
    return tuple(
        ModelView(
            r["version"],
            r["kind"],
            r["parent"],
            r["n_labels"],
            _maybe(r["scores"]),
            r["state"],
            r["verdict"],
            r["created_at"],
        )
        for r in db.execute("SELECT * FROM model ORDER BY id")
    )


def _rounds(db: sqlite3.Connection) -> tuple[RoundView, ...]:
    return tuple(
        RoundView(
            round=r["number"],
            state=r["state"],
            n_labels=r["n_labels"],
            n_gate=r["n_gate"],
            fraction=r["fraction"],
            model=r["model"],
            promoted=None if r["promoted"] is None else bool(r["promoted"]),
            scores=_maybe(r["scores"]),
            baseline=_maybe(r["baseline"]),
            verdict=r["verdict"],
            started_at=r["started_at"],
            finished_at=r["finished_at"],
        )
        for r in db.execute("SELECT * FROM round ORDER BY number")
    )


def encoders(db: sqlite3.Connection) -> tuple[EncoderView, ...]:
    """Every encoder version, oldest first."""
    return tuple(
        EncoderView(
            version=encoder_name(r["id"]),
            kind=r["kind"],
            state=r["state"],
            n_patches=r["n_patches"],
            result=json.loads(r["result"]),
            reason=r["reason"],
            created_at=r["created_at"],
        )
        for r in db.execute("SELECT * FROM encoder ORDER BY id")
    )


def _control(db: sqlite3.Connection) -> ControlView | None:
    row = db.execute("SELECT * FROM control ORDER BY round DESC LIMIT 1").fetchone()
    return None if row is None else ControlView(**dict(row))


def _pseudo(db: sqlite3.Connection) -> PseudoView | None:
    row = db.execute("SELECT chosen, why, at FROM pseudo_choice").fetchone()
    return None if row is None else PseudoView(**dict(row))


def _maybe(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
