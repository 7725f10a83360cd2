"""Reads the database, and only reads, into one frozen Snapshot: all that status, dashboard and --json show."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alcore.disk import full_words, is_full
from daemon.store.connection import DATABASE, FULL_NAME, open_reader
from daemon.workspace import read_holder

STALE_S = 60.0
"""A daemon that gave no sign of life for so long is shown as hanging."""


@dataclass(frozen=True)
class DaemonView:
    """state: running, paused, hanging, stopped, crashed, or never (no daemon has run here yet)."""

    state: str
    pid: int | None
    since: float | None
    seen: float | None
    version: str | None
    paused_until: float | None


@dataclass(frozen=True)
class QueueItem:
    """A suggestion that somebody can answer, or that is being checked."""

    id: str
    volume: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    rank: int
    distance: float | None
    state: str
    reason: str
    note: str
    ready: bool


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker holds now."""

    id: int
    stage: str
    subject: str
    progress: float
    note: str
    started_at: float


@dataclass(frozen=True)
class ModelView:
    """A model version."""

    version: str
    kind: str
    parent: str | None
    n_labels: int
    scores: Mapping[str, Any] | None
    state: str
    verdict: str
    created_at: float


@dataclass(frozen=True)
class RoundView:
    """A round; scores are the candidate's on the held-out labels, baseline those of the pseudo-labels."""

    round: int
    state: str
    n_labels: int
    n_gate: int
    fraction: float
    model: str | None
    promoted: bool | None
    scores: Mapping[str, Any] | None
    baseline: Mapping[str, Any] | None
    verdict: str
    started_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Problem:
    """Something wrong now, most wrong first. since: seconds since the epoch."""

    kind: str
    subject: str
    message: str
    since: float


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at: float
    kind: str
    message: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that people look at, as of one moment (`at`, seconds since the epoch).

    volumes: counts arriving, set_aside, ingested, pseudo_labelled, embedded, indexed, predicted, gone.
    patches: total, labelled. labels: accepted, train, gate, rejected.
    """

    at: float
    daemon: DaemonView
    volumes: Mapping[str, int]
    patches: Mapping[str, int]
    labels: Mapping[str, int]
    queue: tuple[QueueItem, ...]
    jobs: Mapping[str, int]
    running: tuple[RunningJob, ...]
    models: tuple[ModelView, ...]
    rounds: tuple[RoundView, ...]
    problems: tuple[Problem, ...]
    events: tuple[Event, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON of `alscope status --json`."""
        value = asdict(self)
        value["jobs"] = {"by_state": value["jobs"], "running": value.pop("running")}
        return value


def snapshot(workspace: Path, now: float) -> Snapshot:
    """Read the state of a workspace. Raises WorkspaceError when there is no database."""
    connection = open_reader(workspace / DATABASE)
    try:
        connection.execute("BEGIN")
        return _read(connection, workspace, now)
    finally:
        connection.close()


def _read(db: sqlite3.Connection, workspace: Path, now: float) -> Snapshot:
    daemon = _daemon(db, workspace, now)
    return Snapshot(
        at=now,
        daemon=daemon,
        volumes=_volumes(db),
        patches={
            "total": _count(db, "SELECT COALESCE(SUM(n_patches), 0) FROM volume"),
            "labelled": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL"),
        },
        labels={
            "accepted": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL"),
            "train": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL AND role = 'train'"),
            "gate": _count(db, "SELECT COUNT(*) FROM label WHERE superseded_by IS NULL AND role = 'gate'"),
            "rejected": _count(db, "SELECT COUNT(*) FROM received WHERE state = 'rejected'"),
        },
        queue=_queue(db),
        jobs={r["state"]: r["n"] for r in db.execute("SELECT state, COUNT(*) AS n FROM job GROUP BY state")},
        running=tuple(
            RunningJob(r["id"], r["stage"], r["subject"], r["progress"], r["note"], r["started_at"])
            for r in db.execute("SELECT * FROM job WHERE state = 'running' ORDER BY priority DESC, id")
        ),
        models=_models(db),
        rounds=_rounds(db),
        problems=_problems(db, daemon, workspace, now),
        events=tuple(
            Event(r["at"], r["kind"], r["message"]) for r in db.execute("SELECT * FROM event ORDER BY id DESC LIMIT 50")
        ),
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
    return DaemonView(
        state, pid, row["started_at"], row["seen_at"], row["version"], row["paused_until"] if paused else None
    )


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
    last = db.execute("SELECT inputs FROM job WHERE stage = 'suggestions' AND state = 'done' ORDER BY id DESC LIMIT 1")
    indexed = next((len(json.loads(r["inputs"]).get("embedding", [])) for r in last), 0)
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


def _queue(db: sqlite3.Connection) -> tuple[QueueItem, ...]:
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
            rank=r["rank"],
            distance=r["distance"],
            state=r["state"],
            reason=r["reason"],
            note=r["note"],
            ready=bool(r["published"]),
        )
        for r in rows
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


def disk_problem(workspace: Path, now: float) -> list[Problem]:
    """A full disk, seen from here: the daemon has no room to write it down."""
    return [Problem("disk", "workspace", full_words(workspace), now)] if is_full(workspace) else []


def _problems(db: sqlite3.Connection, daemon: DaemonView, workspace: Path, now: float) -> tuple[Problem, ...]:
    """What is wrong, most wrong first: the daemon itself, the machine, failed work, labels to mend, files set aside."""
    found = []
    if daemon.state in ("stopped", "crashed", "never", "hanging"):
        words = {
            "stopped": "the daemon is not running; start it with `alscope run`",
            "crashed": "the daemon ended unexpectedly; start it with `alscope run`, nothing is lost",
            "never": "no daemon has run here yet; start it with `alscope run`",
            "hanging": "the daemon gives no sign of life; see its log",
        }
        found.append(Problem("daemon", "alscope", words[daemon.state], daemon.seen or now))
    full = disk_problem(workspace, now)
    found += full
    for r in db.execute("SELECT * FROM problem ORDER BY kind, subject"):
        if full and r["kind"] == "disk":
            continue
        found.append(Problem(r["kind"], r["subject"], r["message"], r["first_seen"]))
    for r in db.execute(
        "SELECT * FROM job WHERE state = 'failed' AND stage NOT IN ('volume', 'label') ORDER BY id DESC"
    ):
        text = f"{r['error']} (`alscope jobs show {r['id']}`, `alscope jobs retry {r['id']}`)"
        found.append(Problem("job", f"{r['stage']} of {r['subject']}", text, r["finished_at"]))
    for r in db.execute(
        "SELECT * FROM job WHERE state = 'waiting' AND error_kind IN ('transient', 'disk_full', 'source_missing')"
    ):
        found.append(
            Problem("retry", f"{r['stage']} of {r['subject']}", f"{r['error']}; it is tried again", r["created_at"])
        )
    for r in db.execute("SELECT id, note, changed_at FROM suggestion WHERE state = 'rejected' ORDER BY rank"):
        text = f"{r['note']}; mend the file and save it to inbox/{r['id']}.tif again"
        found.append(Problem("label", r["id"], text, r["changed_at"]))
    for r in db.execute(
        "SELECT name, reason, changed_at FROM source WHERE state = 'set_aside' AND gone = 0 ORDER BY id"
    ):
        found.append(Problem("set aside", r["name"], r["reason"], r["changed_at"]))
    for r in db.execute(
        "SELECT name, reason, changed_at FROM source WHERE state = 'ingested' AND reason <> '' AND gone = 0 ORDER BY id"
    ):
        found.append(Problem("part of a file set aside", r["name"], r["reason"], r["changed_at"]))
    for r in db.execute(
        "SELECT v.name, v.part, v.quality, v.created_at FROM volume v WHERE json_array_length(v.quality, '$.warnings') > 0"
        " ORDER BY v.id DESC LIMIT 20"
    ):
        text = "; ".join(json.loads(r["quality"])["warnings"])
        found.append(Problem("quality", r["name"] + (f" ({r['part']})" if r["part"] else ""), text, r["created_at"]))
    return tuple(found)


def _maybe(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
