"""Everything about one model, read-only: what it learned from, how it was judged, when it was in use."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelPage:
    """What `alscope models show` shows.

    round: that made it, None for a pre-trained one. labels: {"suggestion", "role", "reason"} of the labels of that round, in the
    role they had. evaluations: {"scores", "n_patches", "at"} on sets of held-out labels, newest first. promotions: {"how",
    "who", "reason", "previous", "at"}, oldest first. n_predicted: volumes that it has segmented.
    """

    version: str
    kind: str
    state: str
    parent: str | None
    artifact: str
    n_labels: int
    scores: Mapping[str, Any] | None
    ruling: str
    verdict: str
    created_at: float
    round: int | None
    labels: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Mapping[str, Any], ...]
    promotions: tuple[Mapping[str, Any], ...]
    n_predicted: int


def model_page(db: sqlite3.Connection, version: str) -> ModelPage | None:
    """One model version, or None."""
    row = db.execute("SELECT * FROM model WHERE version = ?", [version]).fetchone()
    if row is None:
        return None
    found = db.execute("SELECT number FROM round WHERE model = ?", [version]).fetchone()
    number = None if found is None else int(found["number"])
    labels = db.execute(
        "SELECT x.suggestion_id AS suggestion, r.role, l.role_reason AS reason FROM round_label r"
        " JOIN label l ON l.id = r.label_id JOIN received x ON x.id = l.received_id WHERE r.round = ? ORDER BY l.id",
        [number],
    )
    evaluations = db.execute(
        "SELECT scores, json_array_length(per_label) AS n_patches, created_at AS at FROM evaluation WHERE model = ?"
        " ORDER BY created_at DESC, rowid DESC",
        [version],
    )
    promotions = db.execute(
        "SELECT how, who, reason, previous, at FROM promotion WHERE model = ? ORDER BY id", [version]
    )
    predicted = db.execute("SELECT COUNT(*) AS n FROM prediction WHERE model = ?", [version]).fetchone()
    return ModelPage(
        version=row["version"],
        kind=row["kind"],
        state=row["state"],
        parent=row["parent"],
        artifact=row["artifact"],
        n_labels=row["n_labels"],
        scores=None if row["scores"] is None else json.loads(row["scores"]),
        ruling=row["ruling"],
        verdict=row["verdict"],
        created_at=row["created_at"],
        round=number,
        labels=tuple(dict(r) for r in labels),
        evaluations=tuple({**dict(r), "scores": json.loads(r["scores"])} for r in evaluations),
        promotions=tuple(dict(r) for r in promotions),
        n_predicted=int(predicted["n"]),
    )


def gate_labels(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(suggestion, artifact) of the labels held out now, oldest first."""
    sql = (
        "SELECT x.suggestion_id AS name, l.artifact FROM label l JOIN received x ON x.id = l.received_id"
        " WHERE l.role = 'gate' AND l.superseded_by IS NULL ORDER BY l.id"
    )
    return [(str(r["name"]), str(r["artifact"])) for r in db.execute(sql)]


def predicted_by(db: sqlite3.Connection, versions: tuple[str, str]) -> list[tuple[str, int, str, str]]:
    """(volume name, its voxels, segmentation by one, by the other) of volumes that both models have segmented."""
    sql = (
        "SELECT v.export_name AS name, v.info, a.artifact AS one, b.artifact AS other FROM prediction a"
        " JOIN prediction b ON b.volume_id = a.volume_id JOIN volume v ON v.id = a.volume_id"
        " WHERE a.model = ? AND b.model = ? ORDER BY v.id"
    )
    return [
        (r["name"], math.prod(json.loads(r["info"])["shape"][1:]), r["one"], r["other"])
        for r in db.execute(sql, list(versions))
    ]
