"""Which volumes are on the latent map, and what is to be said of their patches. Read-only."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.report.content import MARKS
from alcore.stage import Input
from daemon.planner.report import GatePatches, MapVolume
from daemon.store.connection import FULL_NAME
from daemon.store.rows import members_of
from daemon.store.schema_claims import TAKEN_BACK
from daemon.store.volumes import SOURCES, artifact_of
from daemon.wording import clean

SHOWN_GATE = 8
"""Held-out patches whose pictures are in the report."""
MOST_NOTES = 3000
"""Sentences about single patches."""


def current_encoder(db: sqlite3.Connection) -> str | None:
    """Artifact of the encoder that selects, or None."""
    row = db.execute("SELECT artifact FROM encoder WHERE state = 'current'").fetchone()
    return None if row is None else str(row["artifact"])


def volumes_on_map(db: sqlite3.Connection, embedding: str, kept: str) -> list[MapVolume]:
    """Every volume that is embedded by this spec, oldest first, whether it can be read now or not.

    Of one that could not be read any more when the encoder came, the patches that people were shown (jobs of the spec `kept`, see
    `daemon.store.kept`).
    """
    found = {
        v.id: v for v in [*_kept(db, kept), *_embedded(db, embedding)]
    }  # its own vectors count, where there are any
    return [found[i] for i in sorted(found)]


def _kept(db: sqlite3.Connection, spec: str) -> list[MapVolume]:
    sql = (
        f"SELECT v.id, {FULL_NAME} AS name, v.artifact, v.folder, v.read, v.sha256, MAX(j.id), j.key, NULL AS path,"
        " NULL AS fingerprint, NULL AS members FROM job j CROSS JOIN volume v ON v.id = CAST(substr(j.subject, 6) AS INTEGER)"
        " WHERE j.stage = 'kept_embedding' AND j.spec = ? AND j.state = 'done' GROUP BY v.id"
    )
    return [_volume(r) for r in db.execute(sql, [spec])]


def _embedded(db: sqlite3.Connection, embedding: str) -> list[MapVolume]:
    sql = (
        f"SELECT v.id, {FULL_NAME} AS name, v.artifact, v.folder, v.read, v.sha256, MAX(j.id), j.key, s.path, s.fingerprint,"
        " s.members FROM job j CROSS JOIN volume v ON v.id = j.volume_id"
        f" LEFT JOIN source s ON s.id = (SELECT MIN(x.id) FROM {SOURCES})"
        " WHERE j.stage = 'embedding' AND j.spec = ? AND j.state = 'done' GROUP BY v.id"
    )
    return [_volume(r) for r in db.execute(sql, [embedding])]


def _volume(r: sqlite3.Row) -> MapVolume:
    source = None
    if r["path"] is not None:
        source = Input(Path(os.fsdecode(bytes(r["path"]))), f"sha256:{r['sha256']}", members=members_of(r["members"]))
    return MapVolume(
        id=r["id"],
        name=clean(r["name"]),
        embedding=r["key"],
        artifact=artifact_of(r["artifact"], r["folder"]),
        read=json.loads(r["read"]),
        source=source,
        content=json.loads(r["fingerprint"]).get("content", "") if r["fingerprint"] else "",
    )


@dataclass(frozen=True)
class Noted:
    """What is known of single patches. marks: {mark: {volume id: patch rows}} (see `alcore.report.points.MARKS`); notes:
    {(volume id, row): sentence}; packages: {(volume id, row): artifact with its picture}. newest: since when volumes count as new,
    in words."""

    marks: dict[str, dict[int, list[int]]]
    notes: dict[tuple[int, int], str]
    packages: dict[tuple[int, int], str]
    newest: str


def noted(db: sqlite3.Connection) -> Noted:
    """Suggestions, labels, what looks broken or is unlike all else, and the newest volumes."""
    marks: dict[str, dict[int, list[int]]] = {name: defaultdict(list) for name in MARKS}
    notes: dict[tuple[int, int], str] = {}
    packages: dict[tuple[int, int], str] = {}
    for r in db.execute(
        "SELECT s.id, s.state, s.arm, s.reason, s.package, p.volume_id, p.row, l.role, l.n_objects FROM suggestion s"
        " CROSS JOIN patch p ON p.id = s.patch_id LEFT JOIN label l ON l.patch_id = s.patch_id AND l.superseded_by IS NULL"
        f" WHERE s.repeat_of IS NULL AND s.skip_kind <> '{TAKEN_BACK}' ORDER BY s.rowid"
    ):
        at = (r["volume_id"], r["row"])
        if r["state"] in ("open", "claimed", "submitted", "rejected"):
            marks["suggested"][at[0]].append(at[1])
        if r["arm"] == "control":
            marks["by chance"][at[0]].append(at[1])
        if r["role"] is not None:
            marks["labelled" if r["role"] == "train" else "held out"][at[0]].append(at[1])
        objects = "" if r["role"] is None else f", {r['n_objects']} objects drawn"
        notes[at] = clean(f"{r['id']} ({r['state']}{objects}): {r['reason']}")
        if r["package"]:
            packages[at] = r["package"]
    for volume_id, row, words in _outliers(db):
        marks["outlier"][volume_id].append(row)
        if len(notes) < MOST_NOTES:
            notes.setdefault((volume_id, row), clean(words))
    new, words = _newest(db)
    for r in new:
        marks["newest"][r["id"]] = list(range(r["n_patches"]))
    return Noted({name: dict(found) for name, found in marks.items()}, notes, packages, words)


def _outliers(db: sqlite3.Connection) -> list[tuple[int, int, str]]:
    """(volume id, patch row, why): held back because it looks broken, or the farthest patch of a volume unlike all before it."""
    held = db.execute(
        "SELECT p.volume_id, p.row, q.reason FROM qc q CROSS JOIN patch p ON p.id = q.patch_id WHERE q.state = 'held'"
        " ORDER BY q.score DESC"
    )
    far = db.execute(
        "SELECT n.volume_id, n.row, n.alarm FROM novelty n JOIN encoder e ON e.id = n.encoder_id AND e.state = 'current'"
        " WHERE n.alarm <> '' AND n.row IS NOT NULL"
    )
    return [
        *((r["volume_id"], r["row"], f"looks broken: {r['reason']}") for r in held),
        *((r["volume_id"], r["row"], f"the farthest of its volume, which is {r['alarm']}") for r in far),
    ]


def _newest(db: sqlite3.Connection) -> tuple[Sequence[sqlite3.Row], str]:
    """Volumes that came since the newest round began; if none did, the newest volume."""
    began = db.execute("SELECT number, started_at FROM round ORDER BY number DESC LIMIT 1").fetchone()
    if began is not None:
        sql = "SELECT id, n_patches FROM volume WHERE created_at > ? ORDER BY id"
        since = db.execute(sql, [began["started_at"]]).fetchall()
        if since:
            return since, f"the volumes that came since round {began['number']} began"
    return db.execute(
        "SELECT id, n_patches FROM volume ORDER BY id DESC LIMIT 1"
    ).fetchall(), "the last volume that came"


def gate_patches(db: sqlite3.Connection) -> GatePatches | None:
    """Held-out patches that the model in use was scored on last, at most `SHOWN_GATE`, evenly spread from the worst Dice to the
    best; before any is in use, of the newest model that was scored. None while there are none."""
    scored = db.execute(
        "SELECT m.version, m.artifact, e.per_label FROM evaluation e JOIN model m ON m.version = e.model"
        " ORDER BY m.state = 'promoted' DESC, e.rowid DESC LIMIT 1"
    ).fetchone()
    if scored is None:
        return None
    rows: list[dict[str, Any]] = [r for r in json.loads(scored["per_label"]) if r.get("scores")]
    named = {
        r["artifact"]: r["name"]
        for r in db.execute(
            "SELECT l.artifact, x.suggestion_id AS name FROM label l JOIN received x ON x.id = l.received_id"
        )
    }
    rows = sorted((r for r in rows if r["label"] in named), key=lambda r: r["scores"].get("dice") or 0.0)
    n = min(SHOWN_GATE, len(rows))
    chosen = [rows[round(i * (len(rows) - 1) / max(1, n - 1))] for i in range(n)]
    if not chosen:
        return None
    keys = tuple(str(r["label"]) for r in chosen)
    return GatePatches(scored["version"], scored["artifact"], tuple(named[key] for key in keys), keys)
