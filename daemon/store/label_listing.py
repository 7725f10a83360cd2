"""Read-only lists of labels and imports, for the commands that print and export them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from daemon.store.connection import FULL_NAME


@dataclass(frozen=True)
class CurrentLabel:
    """A label that counts. artifact: key, perhaps with a folder in it; voxel_um: (z, y, x) um, None when unknown; tool: with
    which it was drawn, "" when nobody said; seen: share of the patch that was looked at."""

    suggestion: str
    artifact: str
    volume: str
    sha256: str
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float] | None
    role: str
    author: str
    tool: str
    n_objects: int
    seen: float
    warnings: tuple[str, ...]
    accepted_at: float


def current_labels(db: sqlite3.Connection) -> list[CurrentLabel]:
    """All labels that count, oldest first."""
    rows = db.execute(
        f"SELECT l.*, r.note, s.id AS sid, {FULL_NAME} AS name, v.sha256, v.info, p.z, p.y, p.x, p.dz, p.dy, p.dx FROM label l"
        " JOIN received r ON r.id = l.received_id JOIN suggestion s ON s.id = r.suggestion_id JOIN patch p ON p.id = l.patch_id"
        " JOIN volume v ON v.id = p.volume_id WHERE l.superseded_by IS NULL ORDER BY l.id"
    )
    return [_label(r) for r in rows]


def _label(r: sqlite3.Row) -> CurrentLabel:
    voxel = json.loads(r["info"])["voxel_um"]
    return CurrentLabel(
        suggestion=r["sid"],
        artifact=r["artifact"],
        volume=r["name"],
        sha256=r["sha256"],
        start=(r["z"], r["y"], r["x"]),
        shape=(r["dz"], r["dy"], r["dx"]),
        voxel_um=None if voxel is None else (voxel[0], voxel[1], voxel[2]),
        role=r["role"],
        author=r["author"],
        tool=str(json.loads(r["note"]).get("tool", "")),
        n_objects=r["n_objects"],
        seen=r["seen"],
        warnings=tuple(json.loads(r["warnings"])),
        accepted_at=r["accepted_at"],
    )


@dataclass(frozen=True)
class ImportView:
    """A mask of a whole volume that was to be cut into labels. state: reading, done or failed; progress: of its job, 0 to 1."""

    id: int
    state: str
    outcome: str
    progress: float


def imported(db: sqlite3.Connection, number: int) -> ImportView | None:
    """One import, or None."""
    r = db.execute(
        "SELECT t.id, t.state, t.outcome, COALESCE(MAX(j.progress), 0.0) AS progress FROM truth t"
        " LEFT JOIN job j ON j.stage = 'truth' AND j.subject = 'truth:' || t.id AND j.state = 'running'"
        " WHERE t.id = ? GROUP BY t.id",
        [number],
    ).fetchone()
    return None if r is None else ImportView(r["id"], r["state"], r["outcome"], r["progress"])


def volumes_called(db: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    """Volumes (id, name) that are called this: by the name people see, by file name, or by the stem of their files."""
    rows = db.execute(
        f"SELECT v.id, {FULL_NAME} AS name, v.name AS file, v.export_name AS stem FROM volume v"
        f" WHERE {FULL_NAME} = :n OR v.name = :n OR v.export_name = :n ORDER BY v.id",
        {"n": name},
    ).fetchall()
    exact = [r for r in rows if name in (r["name"], r["stem"])]
    return [{"id": r["id"], "name": r["name"]} for r in exact or rows]


def volume_names(db: sqlite3.Connection) -> list[str]:
    """What people call the volumes."""
    return [str(r["name"]) for r in db.execute(f"SELECT {FULL_NAME} AS name FROM volume v ORDER BY v.id")]
