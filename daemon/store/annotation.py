"""Suggestions, received files and labels in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alcore.types import Box
from daemon.machine import SUGGESTION_TRANSITIONS, check_transition
from daemon.store.connection import insert, transaction
from daemon.store.rows import LabelRow, Neighbour, Picked, ReceivedRow, SuggestionRow
from daemon.store.volumes import full_name, patch_row

if TYPE_CHECKING:
    from sqlite_utils import Database

_SUGGESTION = """
SELECT s.id AS sid, s.rank, s.distance, s.reason, s.state, s.package, s.arm, s.why, p.*
FROM suggestion s JOIN patch p ON p.id = s.patch_id
"""
_LABEL = """
SELECT l.id AS lid, l.artifact, l.role, p.* FROM label l JOIN patch p ON p.id = l.patch_id
"""


def _suggestion(r: Mapping[str, Any]) -> SuggestionRow:
    return SuggestionRow(
        id=r["sid"],
        patch=patch_row(r),
        rank=r["rank"],
        distance=r["distance"],
        reason=r["reason"],
        state=r["state"],
        package=r["package"],
        arm=r["arm"],
        why=json.loads(r["why"]),
    )


def _label(r: Mapping[str, Any]) -> LabelRow:
    box = Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"]))
    return LabelRow(id=r["lid"], artifact=r["artifact"], role=r["role"], volume_id=r["volume_id"], box=box)


class Annotation:
    """From the patch that is suggested to the label that an expert drew."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # suggestions

    def n_waiting_for_expert(self) -> int:
        """Suggestions that somebody can still answer."""
        sql = "SELECT COUNT(*) AS n FROM suggestion WHERE state IN ('open', 'claimed', 'rejected')"
        return int(next(self._db.query(sql))["n"])

    def n_under_check(self) -> int:
        """Suggestions whose label has come in and is being checked."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM suggestion WHERE state = 'submitted'"))["n"])

    def suggest(self, picks: Sequence[Picked], now: float) -> list[str]:
        """Queue patches in order. Patches that were suggested before are left out; one that was held back is so no more."""
        made = []
        with transaction(self._db):
            rank = int(next(self._db.query("SELECT COALESCE(MAX(rank), 0) AS n FROM suggestion"))["n"])
            for pick in picks:
                patch = self._patch_id(pick.volume_id, pick.row)
                if patch is None or any(self._db.query("SELECT 1 FROM suggestion WHERE patch_id = ?", [patch])):
                    continue
                rank += 1
                made.append(f"s{rank:05d}")
                near = [(self._patch_id(volume, row), distance) for volume, row, distance in pick.neighbours]
                self._db.table("suggestion").insert(
                    {
                        "id": made[-1],
                        "patch_id": patch,
                        "rank": rank,
                        "distance": pick.distance,
                        "reason": pick.reason,
                        "state": "open",
                        "arm": pick.arm,
                        "why": json.dumps(dict(pick.why)),
                        "nearest": None if pick.nearest is None else self._patch_id(*pick.nearest),
                        "neighbours": json.dumps([{"patch": n, "distance": d} for n, d in near if n is not None]),
                        "created_at": now,
                        "changed_at": now,
                    }
                )
                self._db.execute("UPDATE qc SET state = 'suggested' WHERE patch_id = ?", [patch])
        return made

    def _patch_id(self, volume_id: int, row: int) -> int | None:
        sql = "SELECT id FROM patch WHERE volume_id = ? AND row = ?"
        return next((int(r["id"]) for r in self._db.query(sql, [volume_id, row])), None)

    def neighbours(self, suggestion_id: str) -> list[Neighbour]:
        """The labelled patches that a suggestion looked most like when it was made, nearest first."""
        sql = (
            "SELECT t.id AS sid, t.package, v.name, v.part, p.*, n.value ->> 'distance' AS distance"
            " FROM suggestion s, json_each(s.neighbours) n JOIN suggestion t ON t.patch_id = n.value ->> 'patch'"
            " JOIN patch p ON p.id = t.patch_id JOIN volume v ON v.id = p.volume_id WHERE s.id = ? ORDER BY n.key"
        )
        return [
            Neighbour(r["sid"], full_name(r["name"], r["part"]), patch_row(r).box, r["distance"], r["package"])
            for r in self._db.query(sql, [suggestion_id])
        ]

    def suggestion(self, suggestion_id: str) -> SuggestionRow | None:
        """One suggestion, or None."""
        if not suggestion_id.isascii():  # what comes from the name of a file may be no text, which SQLite refuses
            return None
        return next((_suggestion(r) for r in self._db.query(_SUGGESTION + "WHERE s.id = ?", [suggestion_id])), None)

    def unpackaged(self) -> list[SuggestionRow]:
        """Suggestions whose folder for the expert has not been made yet."""
        sql = _SUGGESTION + "WHERE s.package IS NULL AND s.state IN ('open', 'claimed') ORDER BY s.rank"
        return [_suggestion(r) for r in self._db.query(sql)]

    def packaged(self, suggestion_id: str, artifact: str) -> None:
        """The folder's content has been made."""
        with transaction(self._db):
            self._db.execute("UPDATE suggestion SET package = ? WHERE id = ?", [artifact, suggestion_id])

    def to_publish(self) -> list[SuggestionRow]:
        """Suggestions whose folder is made and not yet in the queue."""
        sql = _SUGGESTION + (
            "WHERE s.published = 0 AND s.package IS NOT NULL AND s.state IN ('open', 'claimed', 'rejected') ORDER BY s.rank"
        )
        return [_suggestion(r) for r in self._db.query(sql)]

    def to_withdraw(self) -> list[SuggestionRow]:
        """Answered suggestions whose folder still lies in the queue."""
        sql = _SUGGESTION + "WHERE s.published = 1 AND s.state IN ('accepted', 'skipped')"
        return [_suggestion(r) for r in self._db.query(sql)]

    def set_published(self, suggestion_id: str, published: bool) -> None:
        """Whether queue/<id> lies there for people."""
        with transaction(self._db):
            self._db.execute("UPDATE suggestion SET published = ? WHERE id = ?", [int(published), suggestion_id])

    def move(self, suggestion_id: str, finish: str, note: str, now: float) -> None:
        """Change a suggestion's state. Raises IllegalTransitionError."""
        with transaction(self._db):
            start = next(self._db.query("SELECT state FROM suggestion WHERE id = ?", [suggestion_id]))["state"]
            check_transition(f"suggestion {suggestion_id}", SUGGESTION_TRANSITIONS, start, finish)
            self._db.execute(
                "UPDATE suggestion SET state = ?, note = ?, changed_at = ? WHERE id = ?",
                [finish, note[:500], now, suggestion_id],
            )

    # label files and labels

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
                self.move(suggestion.id, "open", "a label came after all", now)
            self.move(suggestion.id, "submitted", "", now)
        return number

    def received(self, where: str, arguments: Sequence[Any] = ()) -> list[ReceivedRow]:
        """Received label files that match an SQL condition on `received`, oldest first."""
        sql = f"SELECT * FROM received WHERE {where} ORDER BY id"
        out = []
        for r in list(self._db.query(sql, list(arguments))):
            suggestion = self.suggestion(r["suggestion_id"])
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
            self.move(received.suggestion.id, "accepted", "; ".join(warnings), now)
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
            self.move(received.suggestion.id, "rejected", reason, now)

    def labels(self) -> list[LabelRow]:
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
