"""How sure the models are of what people see, what that is worth, and the newest advice. Read-only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from daemon.quality import Calibration, calibrate
from daemon.store.connection import FULL_NAME
from daemon.store.views import AdviceView, QualityView, VolumeQuality

WORST = 3
"""Volumes that are named."""
TIMED = 16
"""Suggestions, the newest, whose expected minutes are averaged."""


def calibrations(db: sqlite3.Connection) -> dict[str, tuple[Calibration | None, str]]:
    """By model that some visible segmentation is of: what its confidence is worth, or why that cannot be told."""
    models = [r["model"] for r in db.execute("SELECT DISTINCT model FROM prediction WHERE published = 1")]
    return {model: calibrate(points(db, model)) for model in models}


def points(db: sqlite3.Connection, model: str) -> list[tuple[float, float]]:
    """(confidence, Dice) of the held-out patches with objects that a model was scored on last."""
    newest = db.execute(
        "SELECT per_label FROM evaluation WHERE model = ? ORDER BY rowid DESC LIMIT 1", [model]
    ).fetchone()
    if newest is None:
        return []
    dice = {
        row["label"]: row["scores"]["dice"]
        for row in json.loads(newest["per_label"])
        if row.get("counts", {}).get("true_voxels") and row.get("scores", {}).get("dice") is not None
    }
    rows = db.execute(
        "SELECT l.artifact, c.confidence FROM calibration c JOIN label l ON l.id = c.label_id"
        " WHERE c.model = ? AND c.confidence IS NOT NULL ORDER BY l.id",
        [model],
    )
    return [(r["confidence"], dice[r["artifact"]]) for r in rows if r["artifact"] in dice]


def volume_quality(
    volume: str, model: str, confidence: float, known: Mapping[str, tuple[Calibration | None, str]]
) -> VolumeQuality:
    """What can be said of one segmentation."""
    calibration = known[model][0] if model in known else None
    if calibration is None:
        return VolumeQuality(volume, model, confidence, None, None, None, False)
    found = calibration.expected(confidence)
    return VolumeQuality(volume, model, confidence, found.dice, found.low, found.high, found.beyond)


def quality(db: sqlite3.Connection) -> QualityView | None:
    """The segmentations to look at first; None while there is none."""
    sql = "SELECT COUNT(*) AS n, SUM(n_objects = 0) AS empty FROM prediction WHERE published = 1"
    counted = db.execute(sql).fetchone()
    if not counted["n"]:
        return None
    rows = db.execute(
        f"SELECT {FULL_NAME} AS name, p.model, p.confidence FROM prediction p JOIN volume v ON v.id = p.volume_id"
        " WHERE p.published = 1 AND p.confidence IS NOT NULL ORDER BY p.confidence, v.id LIMIT ?",
        [WORST],
    ).fetchall()
    known = {model: calibrate(points(db, model)) for model in {r["model"] for r in rows}}
    worst = tuple(volume_quality(r["name"], r["model"], r["confidence"], known) for r in rows)
    why = next((known[v.model][1] for v in worst if v.dice is None), "")
    return QualityView(worst, int(counted["empty"]), why)


def advice(db: sqlite3.Connection) -> AdviceView | None:
    """What more labels would bring, after the newest round, and how long they would take."""
    row = db.execute("SELECT * FROM advice ORDER BY round DESC LIMIT 1").fetchone()
    if row is None:
        return None
    timed = db.execute(
        "SELECT AVG(m) AS minutes FROM (SELECT json_extract(why, '$.minutes') AS m FROM suggestion"
        " WHERE m IS NOT NULL ORDER BY rowid DESC LIMIT ?)",
        [TIMED],
    ).fetchone()
    minutes = None if timed["minutes"] is None else timed["minutes"] * row["patches"]
    return AdviceView(row["round"], row["patches"], row["gain"], row["low"], row["high"], minutes, row["words"])
