"""Received label files and labels in SQL."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alcore.types import Box
from daemon.errors import UsageError
from daemon.label_names import suffix_of
from daemon.people import name_of
from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction
from daemon.store.rows import LabelRow, ReceivedRow, SeenMask, SuggestionRow

if TYPE_CHECKING:
    from sqlite_utils import Database

_LABEL = """
SELECT l.id AS lid, l.artifact, l.role, p.* FROM label l JOIN patch p ON p.id = l.patch_id
"""


def _label(r: Mapping[str, Any]) -> LabelRow:
    box = Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"]))
    return LabelRow(id=r["lid"], artifact=r["artifact"], role=r["role"], volume_id=r["volume_id"], box=box)


UNFINISHED = "it was still being written when it was taken: it is read again when it is whole"
"""Why a label file goes back into the inbox."""
UNCHECKED = (
    "it could not be checked, which says nothing about the label; put it into the inbox again under the name {name}"
)
"""Why a label file is set aside although nothing was found wrong with it."""


def _seen_mask(r: Mapping[str, Any]) -> SeenMask:
    theirs = bytes(r["seen_path"])
    file = f"{r['file'].partition('.')[0]}{suffix_of(os.fsdecode(os.path.basename(theirs)))}"
    return SeenMask(file=file, sha256=r["seen_sha256"], inbox_path=theirs)


class Labels:
    """From the file that somebody saved to the label of a patch."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)

    def receive(
        self,
        suggestion: SuggestionRow,
        inbox_path: bytes,
        sha256: str,
        note: Mapping[str, Any],
        now: float,
        seen: tuple[bytes, str] | None = None,
    ) -> int:
        """A label file lies whole in the inbox: it becomes ours, and its suggestion is submitted. note: what was said with it
        (see `daemon.commands.leave_label_note`). seen: path and sha256 of the mask of what was looked at, which lies beside it.
        """
        with transaction(self._db):
            number = int(next(self._db.query("SELECT COALESCE(MAX(id), 0) + 1 AS n FROM received"))["n"])
            author = name_of(note.get("user")) or self._holder(suggestion.id)
            row = {
                "id": number,
                "suggestion_id": suggestion.id,
                "file": f"labels/received/{suggestion.id}-{number:05d}{suffix_of(os.fsdecode(os.path.basename(inbox_path)))}",
                "sha256": sha256,
                "confirm_empty": int(bool(note.get("empty"))),
                "author": author,
                "note": json.dumps(dict(note)),
                "inbox_path": inbox_path,
                "seen_path": None if seen is None else seen[0],
                "seen_sha256": "" if seen is None else seen[1],
                "state": "checking",
                "received_at": now,
            }
            self._db.table("received").insert(row)
            if suggestion.state == "skipped":
                self._annotation.move(suggestion.id, "open", "a label came after all", now)
            self._annotation.move(suggestion.id, "submitted", "", now, by=author)
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
                    note=json.loads(r["note"]),
                    seen=None if r["seen_path"] is None else _seen_mask(r),
                )
            )
        return out

    def set_filed(self, received_id: int, filed: bool) -> None:
        """Whether the file has been moved to where its state wants it."""
        with transaction(self._db):
            self._db.execute("UPDATE received SET filed = ? WHERE id = ?", [int(filed), received_id])

    def accept(
        self,
        received: ReceivedRow,
        artifact: str,
        role: str,
        n_objects: int,
        warnings: Sequence[str],
        now: float,
        seen: float = 1.0,
    ) -> int:
        """The label passed its checks; an earlier label of the same patch is superseded, not overwritten.

        A patch keeps the role that it had, even when all its labels were withdrawn: models may have learned from them.
        """
        patch_id = received.suggestion.patch.id
        with transaction(self._db):
            old = self._current(patch_id)
            had = next(self._db.query("SELECT role FROM label WHERE patch_id = ? LIMIT 1", [patch_id]), None)
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
                    "role": had["role"] if had is not None else role,
                    "seen": seen,
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

    def _holder(self, suggestion_id: str) -> str:
        """Who has a suggestion now, and so drew a label that does not say by whom; "" when nobody has."""
        sql = "SELECT user FROM claim WHERE suggestion_id = ? AND ended IS NULL"
        return next((str(r["user"]) for r in self._db.query(sql, [suggestion_id])), "")

    def _current(self, patch_id: int) -> dict[str, Any] | None:
        """The label of a patch that counts."""
        sql = "SELECT * FROM label WHERE patch_id = ? AND superseded_by IS NULL"
        return next(self._db.query(sql, [patch_id]), None)

    def withdraw(self, suggestion: SuggestionRow, now: float) -> tuple[int, list[int]]:
        """Undo the newest label of a suggestion: the one before it counts again, if any; else the suggestion is open again.

        Returns how many labels it has left, and the rounds that used the one withdrawn: they keep it. Raises UsageError.
        """
        if suggestion.repeat_of is not None:
            raise UsageError(
                f"{suggestion.id} was labelled to compare two people; save another label for it: the newest counts"
            )
        if suggestion.state == "submitted":
            raise UsageError(f"a label of {suggestion.id} is being checked; wait for its verdict")
        with transaction(self._db):
            newest = self._current(suggestion.patch.id)
            if newest is None:
                raise UsageError(f"{suggestion.id} has no label that could be undone; `alscope label list` shows all")
            former = list(
                self._db.query(
                    "SELECT id FROM label WHERE superseded_by = ? AND id <> ? AND withdrawn_at IS NULL",
                    [newest["id"], newest["id"]],
                )
            )
            # the partial unique index wants the one out of the way before the other counts again
            counts = former[0]["id"] if former else newest["id"]
            self._db.execute(
                "UPDATE label SET superseded_by = ?, withdrawn_at = ? WHERE id = ?", [counts, now, newest["id"]]
            )
            if former:
                self._db.execute("UPDATE label SET superseded_by = NULL WHERE id = ?", [counts])
            elif suggestion.state == "accepted":
                self._annotation.move(suggestion.id, "open", "its label was withdrawn", now)
            self._db.execute("UPDATE received SET filed = 0 WHERE id = ?", [newest["received_id"]])
            left = "SELECT COUNT(*) AS n FROM label WHERE patch_id = ? AND withdrawn_at IS NULL"
            used = self._db.query("SELECT round FROM round_label WHERE label_id = ? ORDER BY round", [newest["id"]])
            rounds = [int(r["round"]) for r in used]
            return int(next(self._db.query(left, [suggestion.patch.id]))["n"]), rounds

    def artifact_of(self, received_id: int) -> str | None:
        """Key of the artifact with the label that counts for the patch of a label file; None when there is none any more."""
        sql = (
            "SELECT l.artifact FROM received r JOIN suggestion s ON s.id = r.suggestion_id AND s.repeat_of IS NULL"
            " JOIN label l ON l.patch_id = s.patch_id AND l.superseded_by IS NULL WHERE r.id = :id UNION ALL"
            " SELECT t.artifact FROM repeat_label t WHERE t.received_id = (SELECT MAX(m.received_id) FROM received r"
            " JOIN repeat_label m ON m.suggestion_id = r.suggestion_id WHERE r.id = :id)"
        )
        return next((str(r["artifact"]) for r in self._db.query(sql, {"id": received_id})), None)

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

    def round_labels(self, number: int) -> list[LabelRow]:
        """The labels frozen for a round, each in the role it had then."""
        sql = (
            "SELECT l.id AS lid, l.artifact, r.role, p.* FROM round_label r JOIN label l ON l.id = r.label_id"
            " JOIN patch p ON p.id = l.patch_id WHERE r.round = ? ORDER BY l.id"
        )
        return [_label(r) for r in self._db.query(sql, [number])]
