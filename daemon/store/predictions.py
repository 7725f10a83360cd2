"""Segmentations in SQL: which volumes are without one, which one people see, and how sure the models are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from daemon.store.connection import transaction
from daemon.store.rows import VolumeRow
from daemon.store.volumes import READABLE, volume_row

if TYPE_CHECKING:
    from sqlite_utils import Database

_UNPLANNED = "NOT EXISTS (SELECT 1 FROM job j WHERE j.stage = 'predict' AND j.spec = ? AND j.volume_id = v.id)"
_NEVER = "NOT EXISTS (SELECT 1 FROM prediction p WHERE p.volume_id = v.id)"


@dataclass(frozen=True)
class Showing:
    """A segmentation that people ought to see and do not yet. name: stem of its files."""

    volume_id: int
    model: str
    artifact: str
    name: str


@dataclass(frozen=True)
class Uncalibrated:
    """A held-out label of which it is not written down yet how sure a model is there: row `row` of patches.npz."""

    label_id: int
    artifact: str
    row: int


class Predictions:
    """Which model has segmented which volume, and what of that is in predictions/."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def without(
        self, spec: str, which: Literal["never", "any"], limit: int, newest_volume: int | None = None
    ) -> list[VolumeRow]:
        """Readable volumes for which no job of this spec was ever wanted, newest first.

        which: "never" = no model has segmented it, "any" = whether one has or not. newest_volume: none newer than that.
        """
        sql = READABLE + f"WHERE {_UNPLANNED} AND v.id <= COALESCE(?, v.id)"
        sql += f" AND {_NEVER}" if which == "never" else ""
        return [
            volume_row(r) for r in self._db.query(sql + " ORDER BY v.id DESC LIMIT ?", [spec, newest_volume, limit])
        ]

    def newest_before_promotion(self) -> int:
        """The newest volume that was there before the model in use came into use; 0: none."""
        sql = (
            "SELECT id FROM volume WHERE created_at < (SELECT at FROM promotion ORDER BY id DESC LIMIT 1)"
            " ORDER BY id DESC LIMIT 1"
        )
        return int(next((r["id"] for r in self._db.query(sql)), 0))

    def n_ready(self, spec: str, priority: int) -> int:
        """How many jobs of a spec, of this urgency or above, may be claimed now."""
        sql = (
            "SELECT COUNT(*) AS n FROM job WHERE stage = 'predict' AND spec = ? AND state IN ('waiting', 'ready', 'running')"
            " AND state = 'ready' AND priority >= ?"
        )  # the first condition on the state is that of the index job_unfinished
        return int(next(self._db.query(sql, [spec, priority]))["n"])

    def n_volumes(self) -> int:
        """How many volumes some model has segmented."""
        return int(next(self._db.query("SELECT COUNT(DISTINCT volume_id) AS n FROM prediction"))["n"])

    def add(
        self, volume_id: int, model: str, artifact: str, n_objects: int, now: float, confidence: float | None = None
    ) -> None:
        """A volume was segmented, or again by the same model in another way: then people are to see the newer one."""
        sql = (
            "INSERT INTO prediction (volume_id, model, artifact, n_objects, confidence, created_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (volume_id, model) DO UPDATE SET artifact = excluded.artifact, n_objects = excluded.n_objects,"
            " confidence = excluded.confidence, created_at = excluded.created_at, published = 0"
            " WHERE artifact <> excluded.artifact"
        )
        with transaction(self._db):
            self._db.execute(sql, [volume_id, model, artifact, n_objects, confidence, now])
            self._db.execute(
                "DELETE FROM calibration WHERE model = ? AND label_id IN (SELECT l.id FROM label l"
                " JOIN patch p ON p.id = l.patch_id WHERE p.volume_id = ?)",
                [model, volume_id],
            )

    def to_show(self, limit: int) -> list[Showing]:
        """Segmentations of the model that is promoted now, whichever way it became so, that people do not see yet."""
        sql = (
            "SELECT p.volume_id, p.model, p.artifact, v.export_name AS name FROM prediction p"
            " JOIN model m ON m.version = p.model JOIN volume v ON v.id = p.volume_id"
            " WHERE p.published = 0 AND m.state = 'promoted' ORDER BY p.created_at, p.volume_id LIMIT ?"
        )
        return [Showing(**r) for r in self._db.query(sql, [limit])]

    def shown(self, volume_id: int, model: str) -> None:
        """What lies in predictions/ for this volume is this model's now."""
        with transaction(self._db):
            self._db.execute("UPDATE prediction SET published = 0 WHERE volume_id = ? AND published = 1", [volume_id])
            self._db.execute(
                "UPDATE prediction SET published = 1 WHERE volume_id = ? AND model = ?", [volume_id, model]
            )

    def forget(self, volume_id: int, model: str) -> None:
        """The files of a segmentation are not there any more."""
        with transaction(self._db):
            self._db.execute("DELETE FROM prediction WHERE volume_id = ? AND model = ?", [volume_id, model])

    # wishes

    def wish(self, now: float) -> int:
        """Every volume that is there now is to be segmented by the promoted model; returns how many there are."""
        found = next(self._db.query("SELECT COUNT(*) AS n, COALESCE(MAX(id), 0) AS newest FROM volume"))
        with transaction(self._db):
            self._db.table("prediction_wish").upsert({"id": 1, "newest_volume": found["newest"], "at": now}, pk="id")
        return int(found["n"])

    def wished(self) -> int:
        """Volumes up to this one are to be segmented by the promoted model; 0 when nobody wishes so."""
        return int(next((r["newest_volume"] for r in self._db.query("SELECT newest_volume FROM prediction_wish")), 0))

    def granted(self) -> None:
        """All that was wished for is planned."""
        with transaction(self._db):
            self._db.execute("DELETE FROM prediction_wish")

    # what confidence is worth

    def uncalibrated(self, model: str) -> list[Uncalibrated]:
        """Held-out labels that this model was scored on and whose volume it has segmented."""
        scored = "SELECT per_label FROM evaluation WHERE model = ? ORDER BY rowid DESC LIMIT 1"
        newest = next((r["per_label"] for r in self._db.query(scored, [model])), None)
        if newest is None:
            return []
        sql = (
            "SELECT l.id AS label_id, p.artifact, patch.row FROM label l JOIN patch ON patch.id = l.patch_id"
            " JOIN prediction p ON p.volume_id = patch.volume_id AND p.model = ?1"
            " WHERE l.artifact IN (SELECT json_extract(value, '$.label') FROM json_each(?2))"
            " AND NOT EXISTS (SELECT 1 FROM calibration c WHERE c.model = ?1 AND c.label_id = l.id) ORDER BY l.id"
        )
        return [Uncalibrated(**r) for r in self._db.query(sql, [model, newest])]

    def calibrate(self, model: str, label_id: int, confidence: float | None) -> None:
        """How sure a model is of one held-out patch; None where it saw nothing."""
        with transaction(self._db):
            row = {"model": model, "label_id": label_id, "confidence": confidence}
            self._db.table("calibration").insert(row, replace=True)

    # advice

    def round_without_advice(self) -> int | None:
        """The newest finished round if nothing was said yet about what more labels would bring after it."""
        sql = (
            "SELECT number FROM round WHERE state = 'done' AND NOT EXISTS (SELECT 1 FROM advice a WHERE a.round >= number)"
            " ORDER BY number DESC LIMIT 1"
        )
        return next((int(r["number"]) for r in self._db.query(sql)), None)

    def learning_curve(self) -> list[tuple[int, int, dict[str, dict[str, Any]]]]:
        """(labels trained on, labels held out, counts of matches by held-out label) of every scored round, oldest first."""
        sql = (
            "SELECT r.number, r.n_labels, r.n_gate, e.per_label FROM round r JOIN evaluation e ON e.model = r.model"
            " WHERE r.state = 'done' ORDER BY r.number, e.rowid"
        )
        found: dict[int, tuple[int, int, dict[str, dict[str, Any]]]] = {}
        for r in self._db.query(sql):  # the first evaluation of a candidate is that of its own round
            counts = {row["label"]: row["counts"] for row in json.loads(r["per_label"]) if "counts" in row}
            if counts:
                found.setdefault(r["number"], (r["n_labels"], r["n_gate"], counts))
        return list(found.values())

    def add_advice(
        self, round_: int, patches: int, words: str, figures: tuple[float, float, float] | None, now: float
    ) -> None:
        """What so many more patches will add, after a round. figures: gain with the ends of its interval."""
        gain, low, high = figures or (None, None, None)
        row = {"round": round_, "patches": patches, "gain": gain, "low": low, "high": high, "words": words, "at": now}
        with transaction(self._db):
            self._db.table("advice").insert(row, ignore=True)
