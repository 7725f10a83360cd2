"""Reads the database, and only reads, into one frozen Snapshot: all that status, dashboard and --json show."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alcore.disk import is_full
from daemon.effort import Effort, fit
from daemon.store.alarm_listing import alarms, expected
from daemon.store.claim_listing import all_held, nothing_words, queue_state
from daemon.store.connection import DATABASE, FULL_NAME, open_reader
from daemon.store.label_keys import SEEN
from daemon.store.ledger import Entry, bought, entries, skips, spent, timed
from daemon.store.problems import problems
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
        return _read(connection, workspace, now)
    finally:
        connection.close()


def _read(db: sqlite3.Connection, workspace: Path, now: float) -> Snapshot:
    daemon, done = _daemon(db, workspace, now), entries(db)
    return Snapshot(
        at=now,
        daemon=daemon,
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
        jobs={r["state"]: r["n"] for r in db.execute("SELECT state, COUNT(*) AS n FROM job GROUP BY state")},
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
        problems=problems(db, daemon, workspace, now),
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


def _volumes(db: sqlite3.Connection) -> dict[str, int]:
    counted = db.execute("SELECT state, COUNT(*) AS n FROM source WHERE gone = 0 GROUP BY state")
    sources = {r["state"]: r["n"] for r in counted}
    done = {
        r["stage"]: r["n"]
        for r in db.execute(
            "SELECT stage, COUNT(DISTINCT volume_id) AS n FROM job"
            " WHERE state = 'done' AND stage IN ('pseudo', 'embedding') GROUP BY stage"
        )
    }
    last = db.execute("SELECT subject FROM job WHERE stage = 'suggestions' AND state = 'done' ORDER BY id DESC LIMIT 1")
    indexed = next((int(r["subject"].split(":")[1]) for r in last), 0)
    return {
        "arriving": sources.get("arriving", 0) + sources.get("settled", 0),
        "set_aside": sources.get("set_aside", 0),
        "ingested": _count(db, "SELECT COUNT(*) FROM volume"),
        "pseudo_labelled": done.get("pseudo", 0),
        "embedded": done.get("embedding", 0),
        "indexed": indexed,
        "predicted": _count(db, "SELECT COUNT(DISTINCT volume_id) FROM prediction WHERE published = 1"),
        "gone": _count(db, "SELECT COUNT(*) FROM source WHERE gone = 1 AND state = 'ingested'"),
    }


def _queue(db: sqlite3.Connection, done: Sequence[Entry]) -> tuple[QueueItem, ...]:
    held, effort = all_held(db), fit(timed(done), Effort(0.0, 0.0))
    rows = db.execute(
        f"SELECT s.*, {FULL_NAME} AS volume, p.z, p.y, p.x, p.dz, p.dy, p.dx FROM suggestion s"
        " JOIN patch p ON p.id = s.patch_id JOIN volume v ON v.id = p.volume_id"
        " WHERE s.state IN ('open', 'claimed', 'submitted', 'rejected') ORDER BY s.rank"
    )
    return tuple(
        QueueItem(
            id=r["id"],
            volume=r["volume"],
            start=(r["z"], r["y"], r["x"]),
            shape=(r["dz"], r["dy"], r["dx"]),
            rank=place,
            distance=r["distance"],
            state=r["state"],
            reason=r["reason"],
            note=r["note"],
            ready=bool(r["published"]),
            arm=r["arm"],
            minutes=_minutes(json.loads(r["why"]), effort),
            user=held[r["id"]].user if r["id"] in held else "",
            left_s=held[r["id"]].left_s if r["id"] in held else None,
        )
        for place, r in enumerate(rows, 1)
    )


def _minutes(why: Mapping[str, float], effort: Effort) -> float | None:
    """Expected for a patch: by what people needed so far, else as it was when the patch was chosen."""
    fitted = effort.minutes(why.get("n_objects")) if effort.n else None
    return why.get("minutes") if fitted is None else fitted


def _work(db: sqlite3.Connection, done: Sequence[Entry]) -> WorkView:
    return WorkView(
        spent(done), tuple(bought(db, done)), agreement(db), nothing_words(queue_state(db)), tuple(skips(db))
    )


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
