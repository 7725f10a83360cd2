"""Labels that were found on the disk after the database was lost or put back, in SQL."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from alcore.types import Box
from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction
from daemon.store.labels import Labels
from daemon.store.rows import Picked

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class FoundLabel:
    """artifact: key, perhaps with a folder in it; box: JSON; suggestion: its name of then; file: the label as it came, relative to
    the workspace; role: train, gate, or "" where nothing says it; result: of the stage label, JSON; at: when it came, seconds."""

    artifact: str
    volume_sha256: str
    box: str
    suggestion: str
    file: str
    sha256: str
    author: str
    note: str
    role: str
    result: str
    at: float


@dataclass(frozen=True)
class Place:
    """The patch that a found label is of."""

    volume_id: int
    row: int
    box: Box


class Found:
    """From a label on the disk to a label that counts."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)
        self._labels = Labels(db)

    def knows(self, artifact: str) -> bool:
        """Is a label of this artifact in the database, as one that counts, counted, or was withdrawn?"""
        sql = "SELECT 1 FROM label WHERE artifact = ? UNION ALL SELECT 1 FROM repeat_label WHERE artifact = ?"
        return any(self._db.query(sql, [artifact, artifact]))

    def add(self, labels: Sequence[FoundLabel]) -> None:
        """Keep them until their volumes are known; what was added before stays as it was."""
        with transaction(self._db):
            for label in labels:
                self._db.table("found_label").insert(asdict(label), ignore=True)

    def moved(self, start: str, other: str) -> None:
        """Files of labels that wait lie in another folder now."""
        with transaction(self._db):
            sql = "UPDATE found_label SET file = ? || substr(file, ?) WHERE substr(file, 1, ?) = ?"
            self._db.execute(sql, [other, len(start) + 1, len(start), start])

    def waiting(self) -> list[FoundLabel]:
        """All that wait, in the order in which they came: of two labels of one patch the later one counts."""
        return [FoundLabel(**r) for r in self._db.query("SELECT * FROM found_label ORDER BY at, artifact")]

    def place(self, label: FoundLabel) -> Place | None:
        """The patch of a label, if its volume was read again and is cut as it was."""
        box = Box.from_json(json.loads(label.box))
        sql = (
            "SELECT p.volume_id, p.row FROM patch p JOIN volume v ON v.id = p.volume_id AND v.sha256 = ?"
            " WHERE (p.z, p.y, p.x, p.dz, p.dy, p.dx) = (?, ?, ?, ?, ?, ?)"
        )
        found = next(self._db.query(sql, [label.volume_sha256, *box.start, *box.shape]), None)
        return None if found is None else Place(found["volume_id"], found["row"], box)

    def role_of(self, place: Place) -> str:
        """The role that the patch has by its other labels; "" when it has none."""
        sql = "SELECT l.role FROM label l JOIN patch p ON p.id = l.patch_id WHERE p.volume_id = ? AND p.row = ? LIMIT 1"
        return next((str(r["role"]) for r in self._db.query(sql, [place.volume_id, place.row])), "")

    def is_busy(self, place: Place) -> bool:
        """Does somebody work on the patch, or is a label of it being checked?"""
        return self._state(place) in ("claimed", "submitted")

    def _state(self, place: Place) -> str:
        sql = (
            "SELECT s.state FROM suggestion s JOIN patch p ON p.id = s.patch_id AND s.repeat_of IS NULL"
            " WHERE p.volume_id = ? AND p.row = ?"
        )
        return next((str(r["state"]) for r in self._db.query(sql, [place.volume_id, place.row])), "")

    def bring(self, label: FoundLabel, place: Place, role: str, now: float) -> int | None:
        """Accept a found label; None where a later one of the same patch counts already. It waits no more in both cases."""
        with transaction(self._db):
            self._db.execute("DELETE FROM found_label WHERE artifact = ?", [label.artifact])
            later = "SELECT 1 FROM label l JOIN patch p ON p.id = l.patch_id WHERE l.superseded_by IS NULL AND l.accepted_at >= ?"
            if any(
                self._db.query(later + " AND p.volume_id = ? AND p.row = ?", [label.at, place.volume_id, place.row])
            ):
                return None
            suggestion_id = self._suggestion(label, place, now)
            key, stage = label.artifact, label.artifact.split("-")[0]
            artifact = {"key": key, "stage": stage, "bytes": 0, "seconds": 0.0, "created_at": label.at}
            self._db.table("artifact").insert(artifact, ignore=True)
            if self._state(place) == "skipped":
                self._annotation.move(suggestion_id, "open", "its label was found again", now)
            self._annotation.move(suggestion_id, "submitted", "its label was found again", now)
            row = {
                "suggestion_id": suggestion_id, "file": label.file, "sha256": label.sha256, "confirm_empty": 1,
                "author": label.author, "note": label.note, "inbox_path": os.fsencode(label.file), "filed": 1,
                "state": "checking", "received_at": label.at,
            }  # fmt: skip
            (received,) = self._labels.received("id = ?", [insert(self._db, "received", row)])
            result: Mapping[str, Any] = json.loads(label.result)
            warnings = [str(w) for w in result.get("warnings", ())]
            seen = float(result.get("seen_fraction", 1.0))
            made = self._labels.accept(received, key, role, int(result["n_objects"]), warnings, now, seen)
            self._db.execute("UPDATE label SET accepted_at = ? WHERE id = ?", [label.at, made])
        return made

    def _suggestion(self, label: FoundLabel, place: Place, now: float) -> str:
        sql = (
            "SELECT s.id FROM suggestion s JOIN patch p ON p.id = s.patch_id AND s.repeat_of IS NULL"
            " WHERE p.volume_id = ? AND p.row = ?"
        )
        known = next(self._db.query(sql, [place.volume_id, place.row]), None)
        if known is not None:
            return str(known["id"])
        why = f"its label was found again (its name was {label.suggestion})"
        (made,) = self._annotation.suggest([Picked(place.volume_id, place.row, None, why, arm="asked")], now)
        return made

    def unknown_suggestions(self, names: Sequence[str]) -> set[str]:
        """Those of these names that no suggestion has."""
        return {n for n in names if not any(self._db.query("SELECT 1 FROM suggestion WHERE id = ?", [n]))}

    def unknown_files(self, names: Sequence[str]) -> set[str]:
        """Those of these files, relative to the workspace, that no label came in, nor the mask beside one: it has its stem."""
        known = {str(r["file"]).partition(".")[0] for r in self._db.query("SELECT file FROM received")}
        return {n for n in names if n.partition(".")[0] not in known}

    def record(self, received_id: int) -> dict[str, Any] | None:
        """What ought to lie beside a received label, so that it says by itself whose it is; None for one without a label.

        repeat: it was drawn to compare two people, and is no label to learn from."""
        sql = (
            "SELECT l.artifact, l.role, l.accepted_at, l.withdrawn_at, r.suggestion_id AS suggestion, r.file, r.sha256, r.author,"
            " r.note, r.received_at, v.name AS volume, v.sha256 AS volume_sha256 FROM label l JOIN received r ON r.id = l.received_id"
            " JOIN patch p ON p.id = l.patch_id JOIN volume v ON v.id = p.volume_id WHERE r.id = ? ORDER BY l.id DESC LIMIT 1"
        )
        found = next(self._db.query(sql, [received_id]), None)
        if found is not None:
            return {**found, "note": json.loads(found["note"])}
        sql = "SELECT artifact, suggestion_id AS suggestion, 1 AS repeat FROM repeat_label WHERE received_id = ?"
        return next(self._db.query(sql, [received_id]), None)
