"""Read-only lists of single things (sources, jobs, labels, suggestions) for the commands that print them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from daemon.store.connection import FULL_NAME
from daemon.store.ledger import active_minutes
from daemon.store.subjects import subject_names


@dataclass(frozen=True)
class SourceView:
    """A volume in an acquisition of a watched folder, or an acquisition that is none yet. part: which of several volumes in it.
    files: of which it consists. away: its folder cannot be reached just now. warnings: what a first look found.
    shape: (Z, Y, X) voxels; voxel_um: (z, y, x) um; prediction: stem of its segmentation; confidence: the model's, 0..1.
    novelty, novelty_max: median and
    largest cosine distance of its patches to the nearest one known before it; duplicates: patches known already; alarm: what
    is unusual about that."""

    id: int
    name: str
    path: str
    state: str
    gone: bool
    away: bool
    files: int
    reason: str
    size_bytes: int
    shape: tuple[int, int, int] | None
    dtype: str | None
    voxel_um: tuple[float, float, float] | None
    n_patches: int
    sha256: str | None
    notes: tuple[str, ...]
    part: str
    voxel_source: str | None
    warnings: tuple[str, ...]
    prediction: str | None
    predicted_by: str | None
    confidence: float | None
    novelty: float | None
    novelty_max: float | None
    duplicates: int | None
    alarm: str
    changed_at: float


@dataclass(frozen=True)
class JobView:
    """A job; subject is the id that the daemon uses, name what people call it."""

    id: int
    stage: str
    subject: str
    name: str
    state: str
    priority: int
    attempts: int
    progress: float
    note: str
    error: str
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True)
class JobStory:
    """A job with all that happened to it. story: (at, start, finish, note)."""

    job: JobView
    key: str
    params: Any
    inputs: Any
    result: Any
    story: tuple[tuple[float, str, str, str], ...]


@dataclass(frozen=True)
class ReceivedView:
    """A label file that came in. role: train, gate or (the second of a blind repeat) repeat once it is accepted; current: not
    superseded by a later one, nor withdrawn. minutes: of active editing, None where the tool did not tell. seen: share of the
    patch that was looked at; tool: with which it was drawn, "" when nobody said."""

    id: int
    suggestion: str
    volume: str
    state: str
    reason: str
    author: str
    n_objects: int | None
    role: str | None
    current: bool
    warnings: tuple[str, ...]
    received_at: float
    minutes: float | None
    withdrawn: bool
    seen: float
    tool: str


def sources(db: sqlite3.Connection, now: float) -> list[SourceView]:
    """Every acquisition that was ever seen in a watched folder, oldest first, as of `now` (seconds since the epoch)."""
    rows = db.execute(
        "SELECT s.*, v.info, v.notes, v.export_name, v.sha256, v.part, v.quality, v.n_patches,"
        " p.model, p.confidence, n.median, n.max, n.duplicates, n.alarm"
        " FROM source s LEFT JOIN source_part l ON l.source_id = s.id AND l.current = 1"
        " LEFT JOIN volume v ON v.id = l.volume_id"
        " LEFT JOIN prediction p ON p.volume_id = v.id AND p.published = 1"
        " LEFT JOIN novelty n ON n.volume_id = v.id AND n.encoder_id = (SELECT id FROM encoder WHERE state = 'current')"
        " ORDER BY s.id, v.id"
    )
    return [_source(r, now) for r in rows]


def _source(r: sqlite3.Row, now: float) -> SourceView:
    # a file that changed after it was ingested arrives again: what is known of its former content is not shown as its own
    info = json.loads(r["info"]) if r["info"] and r["state"] == "ingested" else None
    voxel = info["voxel_um"] if info else None
    return SourceView(
        id=r["id"],
        name=r["name"],
        path=os.fsdecode(bytes(r["path"])).encode(errors="surrogateescape").decode(errors="backslashreplace"),
        state=r["state"],
        gone=bool(r["gone"]),
        away=bool(r["away"]),
        files=json.loads(r["fingerprint"]).get("files", 1) if r["fingerprint"] else 0,
        reason=_waits_for(r, now),
        size_bytes=r["size"],
        shape=(info["shape"][1], info["shape"][2], info["shape"][3]) if info else None,
        dtype=info["dtype"] if info else None,
        voxel_um=(voxel[0], voxel[1], voxel[2]) if voxel else None,
        n_patches=r["n_patches"] if info else 0,
        sha256=r["sha256"] if info else None,
        notes=tuple(json.loads(r["notes"])) if info else (),
        part=r["part"] if info else "",
        voxel_source=info.get("voxel_source") if info else None,
        warnings=tuple(json.loads(r["quality"]).get("warnings", [])) if info else (),
        prediction=r["export_name"] if r["model"] and info else None,
        predicted_by=r["model"] if info else None,
        confidence=r["confidence"] if info else None,
        novelty=r["median"] if info else None,
        novelty_max=r["max"] if info else None,
        duplicates=r["duplicates"] if info else None,
        alarm=(r["alarm"] or "") if info else "",
        changed_at=r["changed_at"],
    )


def _waits_for(r: sqlite3.Row, now: float) -> str:
    """Why a source is not whole yet, with the time that it has been quiet; or why it was set aside."""
    reason: str = r["reason"]
    if r["state"] != "arriving" or r["quiet_since"] is None:
        return reason
    quiet = min(max(0.0, now - r["quiet_since"]), r["wait_s"])
    return f"{reason}, quiet for {quiet:.0f} of {r['wait_s']:.0f} s"


def jobs(db: sqlite3.Connection, state: str | None, limit: int) -> list[JobView]:
    """The newest jobs, at most `limit` (0: all), newest first; with `state` only those in that state."""
    where, arguments = ("WHERE state = ?", [state]) if state else ("", [])
    rows = db.execute(f"SELECT * FROM job {where} ORDER BY id DESC LIMIT ?", [*arguments, limit or -1]).fetchall()
    names = subject_names(db, (r["subject"] for r in rows))
    return [_job(r, names[r["subject"]]) for r in rows]


def job(db: sqlite3.Connection, job_id: int) -> JobStory | None:
    """One job with its story, or None."""
    r = db.execute("SELECT * FROM job WHERE id = ?", [job_id]).fetchone()
    if r is None:
        return None
    events = db.execute("SELECT at, start, finish, note FROM job_event WHERE job_id = ? ORDER BY id", [job_id])
    return JobStory(
        job=_job(r, subject_names(db, [r["subject"]])[r["subject"]]),
        key=r["key"],
        params=json.loads(r["params"]),
        inputs=json.loads(r["inputs"]),
        result=json.loads(r["result"]) if r["result"] else None,
        story=tuple((e["at"], e["start"], e["finish"], e["note"]) for e in events),
    )


def _job(r: sqlite3.Row, name: str) -> JobView:
    return JobView(
        id=r["id"],
        stage=r["stage"],
        subject=r["subject"],
        name=name,
        state=r["state"],
        priority=r["priority"],
        attempts=r["attempts"],
        progress=r["progress"],
        note=r["note"],
        error=r["error"],
        created_at=r["created_at"],
        started_at=r["started_at"],
        finished_at=r["finished_at"],
    )


def received(db: sqlite3.Connection) -> list[ReceivedView]:
    """Every label file that came in, newest first."""
    rows = db.execute(
        f"SELECT r.*, {FULL_NAME} AS volume, COALESCE(l.n_objects, t.n_objects) AS n_objects,"
        " COALESCE(l.role, iif(t.received_id IS NULL, NULL, 'repeat')) AS role, COALESCE(l.warnings, t.warnings) AS warnings,"
        " l.superseded_by, l.withdrawn_at IS NOT NULL AS withdrawn, COALESCE(l.seen, 1.0) AS seen, l.id AS label_id,"
        " t.received_id = (SELECT MAX(m.received_id) FROM repeat_label m"
        " WHERE m.suggestion_id = r.suggestion_id) AS newest_repeat FROM received r"
        " JOIN suggestion s ON s.id = r.suggestion_id JOIN patch p ON p.id = s.patch_id"
        " JOIN volume v ON v.id = p.volume_id LEFT JOIN label l ON l.received_id = r.id"
        " LEFT JOIN repeat_label t ON t.received_id = r.id ORDER BY r.id DESC"
    )
    return [
        ReceivedView(
            id=r["id"],
            suggestion=r["suggestion_id"],
            volume=r["volume"],
            state=r["state"],
            reason=r["reason"],
            author=r["author"],
            n_objects=r["n_objects"],
            role=r["role"],
            current=bool(r["newest_repeat"]) or (r["label_id"] is not None and r["superseded_by"] is None),
            warnings=tuple(json.loads(r["warnings"])) if r["warnings"] else (),
            received_at=r["received_at"],
            minutes=active_minutes(r["note"]),
            withdrawn=bool(r["withdrawn"]),
            seen=r["seen"],
            tool=str(json.loads(r["note"]).get("tool", "")),
        )
        for r in rows
    ]


def newest_received(db: sqlite3.Connection) -> int:
    """The number of the newest label file that came in; 0 when there is none."""
    return int(db.execute("SELECT COALESCE(MAX(id), 0) FROM received").fetchone()[0])


def command_outcome(db: sqlite3.Connection, command_id: str) -> tuple[bool, str] | None:
    """(ok, outcome) of a command that the daemon carried out, or None."""
    r = db.execute("SELECT ok, outcome FROM command WHERE id = ?", [command_id]).fetchone()
    return None if r is None else (bool(r["ok"]), r["outcome"])


def models(db: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Every model version: version -> (state, artifact key)."""
    return {r["version"]: (r["state"], r["artifact"]) for r in db.execute("SELECT version, state, artifact FROM model")}


def demand(
    db: sqlite3.Connection, stages: Collection[str], may_start: Callable[[str, bool], bool], now: float
) -> tuple[int, int]:
    """(long jobs, short jobs) of these stages that run, or are ready and may begin. may_start: is it the hour of a (stage, long) job?"""
    paused = db.execute("SELECT paused_until FROM daemon WHERE id = 1 AND paused_until > ?", [now]).fetchone()
    sql = (
        "SELECT stage, long, state, COUNT(*) FROM job WHERE state IN ('ready', 'running')"
        " AND stage IN (SELECT value FROM json_each(?)) GROUP BY stage, long, state"
    )
    found = {True: 0, False: 0}
    for stage, long, state, n in db.execute(sql, [json.dumps(sorted(stages))]):
        if state == "running" or (paused is None and may_start(stage, bool(long))):
            found[bool(long)] += int(n)
    return found[True], found[False]
