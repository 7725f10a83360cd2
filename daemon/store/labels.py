"""Received label files and labels in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alcore.types import Box
from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction
from daemon.store.rows import LabelRow, ReceivedRow, SuggestionRow

if TYPE_CHECKING:
    from sqlite_utils import Database

_LABEL = """
SELECT l.id AS lid, l.artifact, l.role, p.* FROM label l JOIN patch p ON p.id = l.patch_id
"""


def _label(r: Mapping[str, Any]) -> LabelRow:
    box = Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"]))
    return LabelRow(id=r["lid"], artifact=r["artifact"], role=r["role"], volume_id=r["volume_id"], box=box)


class Labels:
    """From the file that somebody saved to the label of a patch."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)

    def receive(
        self, suggestion: SuggestionRow, inbox_path: bytes, sha256: str, confirm_empty: bool, author: str, now: float
    ) -> int:
        """A label file lies whole in the inbox: it becomes ours, and its suggestion is submitted."""
        with transaction(self._db):
            number = int(next(self._db.query("SELECT COALESCE(MAX(id), 0) + 1 AS n FROM received"))["n"])
            row = {
                "id": number,
                "suggestion_id": suggestion.id,
                "file": f"labels/received/{suggestion.id}-{number:05d}.tif",
                "sha256": sha256,
                "confirm_empty": int(confirm_empty),
                "author": author,
                "inbox_path": inbox_path,
                "state": "checking",
                "received_at": now,
            }
            self._db.table("received").insert(row)
            if suggestion.state == "skipped":
                self._annotation.move(suggestion.id, "open", "a label came after all", now)
            self._annotation.move(suggestion.id, "submitted", "", now)
        return number

    def received(self, where: str, arguments: Sequence[Any] = ()) -> list[ReceivedRow]:
        """Received label files that match an SQL condition on `received`, oldest first."""
        sql = f"SELECT * FROM received WHERE {where} ORDER BY id"
        out = []
        for r in list(self._db.query(sql, list(arguments))):
            suggestion = self._annotation.suggestion(r["suggestion_id"])
            assert suggestion is not None
            out.append(
                ReceivedRow(
                    id=r["id"],
                    suggestion=suggestion,
                    file=r["file"],
                    sha256=r["sha256"],
                    confirm_empty=bool(r["confirm_empty"]),
                    author=r["author"],
                    inbox_path=bytes(r["inbox_path"]),
                    filed=bool(r["filed"]),
                    state=r["state"],
                    reason=r["reason"],
                )
            )
        return out

    def set_filed(self, received_id: int, filed: bool) -> None:
        """Whether the file has been moved to where its state wants it."""
        with transaction(self._db):
            self._db.execute("UPDATE received SET filed = ? WHERE id = ?", [int(filed), received_id])

    def accept(
        self, received: ReceivedRow, artifact: str, role: str, n_objects: int, warnings: Sequence[str], now: float
    ) -> int:
        """The label passed its checks; an earlier label of the same patch is superseded, not overwritten."""
        patch_id = received.suggestion.patch.id
        with transaction(self._db):
            old = next(
                self._db.query("SELECT id, role FROM label WHERE patch_id = ? AND superseded_by IS NULL", [patch_id]),
                None,
            )
            if old is not None:
                # the partial unique index wants the old one out of the way before its successor has an id
                self._db.execute("UPDATE label SET superseded_by = id WHERE id = ?", [old["id"]])
            label_id = insert(
                self._db,
                "label",
                {
                    "patch_id": patch_id,
                    "artifact": artifact,
                    "received_id": received.id,
                    "origin": "human",
                    "role": old["role"] if old is not None else role,
                    "n_objects": n_objects,
                    "author": received.author,
                    "warnings": json.dumps(list(warnings)),
                    "accepted_at": now,
                },
            )
            if old is not None:
                self._db.execute("UPDATE label SET superseded_by = ? WHERE id = ?", [label_id, old["id"]])
            self._db.execute("UPDATE received SET state = 'accepted', filed = 0 WHERE id = ?", [received.id])
            self._annotation.move(received.suggestion.id, "accepted", "; ".join(warnings), now)
        return label_id

    def artifact_of(self, received_id: int) -> str:
        """Key of the artifact that an accepted label file became."""
        row = next(self._db.query("SELECT artifact FROM label WHERE received_id = ?", [received_id]))
        return str(row["artifact"])

    def reject(self, received: ReceivedRow, reason: str, now: float) -> None:
        """The label failed its checks; the file is kept, with the reason."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE received SET state = 'rejected', reason = ?, filed = 0 WHERE id = ?", [reason, received.id]
            )
            self._annotation.move(received.suggestion.id, "rejected", reason, now)

    def current(self) -> list[LabelRow]:
        """All current labels, oldest first."""
        sql = _LABEL + "WHERE l.superseded_by IS NULL ORDER BY l.id"
        return [_label(r) for r in self._db.query(sql)]

    def n_new_training_labels(self) -> int:
        """Training labels that no round has seen yet."""
        sql = (
            "SELECT COUNT(*) AS n FROM label l WHERE l.superseded_by IS NULL AND l.role = 'train'"
            " AND NOT EXISTS (SELECT 1 FROM round_label r WHERE r.label_id = l.id)"
        )
        return int(next(self._db.query(sql))["n"])

    def round_labels(self, number: int) -> list[LabelRow]:
        """The labels frozen for a round, each in the role it had then."""
        sql = (
            "SELECT l.id AS lid, l.artifact, r.role, p.* FROM round_label r JOIN label l ON l.id = r.label_id"
            " JOIN patch p ON p.id = l.patch_id WHERE r.round = ? ORDER BY l.id"
        )
        return [_label(r) for r in self._db.query(sql, [number])]
