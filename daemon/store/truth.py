"""Ground truth of whole volumes that somebody asked to be cut into labels, in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction
from daemon.store.labels import Labels
from daemon.store.rows import Picked, ReceivedRow, SuggestionRow

if TYPE_CHECKING:
    from sqlite_utils import Database


@dataclass(frozen=True)
class TruthRow:
    """A request. fingerprint: of the file as it was asked for, JSON; options: replace, skip_empty, tool."""

    id: int
    volume_id: int
    path: bytes
    fingerprint: str
    options: Mapping[str, Any]
    author: str


class Truth:
    """From the mask of a whole volume to a label of each of its patches."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)
        self._labels = Labels(db)

    def ask(
        self, volume_id: int, path: bytes, fingerprint: str, options: Mapping[str, Any], author: str, now: float
    ) -> int:
        """Somebody wants a mask to be cut into labels; returns the number of the request."""
        row = {
            "volume_id": volume_id,
            "path": path,
            "fingerprint": fingerprint,
            "options": json.dumps(dict(options), sort_keys=True),
            "author": author,
            "state": "reading",
            "asked_at": now,
        }
        with transaction(self._db):
            return insert(self._db, "truth", row)

    def reading(self) -> list[TruthRow]:
        """Requests that have no outcome yet, oldest first."""
        return self._rows("state = 'reading'")

    def get(self, number: int) -> TruthRow | None:
        """One request that has no outcome yet, or None."""
        return next(iter(self._rows("state = 'reading' AND id = ?", number)), None)

    def _rows(self, where: str, *arguments: Any) -> list[TruthRow]:
        sql = f"SELECT * FROM truth WHERE {where} ORDER BY id"
        return [
            TruthRow(r["id"], r["volume_id"], bytes(r["path"]), r["fingerprint"], json.loads(r["options"]), r["author"])
            for r in self._db.query(sql, list(arguments))
        ]

    def ended(self, number: int, state: str, outcome: str) -> None:
        """What became of a request: done or failed, in words."""
        with transaction(self._db):
            self._db.execute("UPDATE truth SET state = ?, outcome = ? WHERE id = ?", [state, outcome, number])

    def standing(self, volume_id: int, row: int) -> tuple[SuggestionRow | None, str | None]:
        """The suggestion of a patch, if there ever was one, and the artifact of the label that counts for it, if any."""
        sql = (
            "SELECT s.id AS sid, l.artifact FROM patch p LEFT JOIN suggestion s ON s.patch_id = p.id AND s.repeat_of IS NULL"
            " LEFT JOIN label l ON l.patch_id = p.id AND l.superseded_by IS NULL WHERE p.volume_id = ? AND p.row = ?"
        )
        found = next(self._db.query(sql, [volume_id, row]))
        return (self._annotation.suggestion(found["sid"]) if found["sid"] else None), found["artifact"]

    def bring(
        self,
        truth: TruthRow,
        suggestion: SuggestionRow | None,
        case: str,
        file: str,
        label: Mapping[str, Any],
        role: str,
        now: float,
    ) -> int:
        """Accept one patch of the mask as its label; returns the label's id.

        case: artifact of the import with the patch's folder in it; file: its label, relative to the workspace. role: as
        `arrays.splits.assign_role` found. A patch that nobody was asked about gets a suggestion that says why, answered at
        once: the queue never shows it.
        """
        with transaction(self._db):
            if suggestion is None:
                pick = Picked(truth.volume_id, int(label["row"]), None, "its label was imported", arm="asked")
                (made,) = self._annotation.suggest([pick], now)
                suggestion = self._annotation.suggestion(made)
                assert suggestion is not None
            if suggestion.state == "skipped":
                self._annotation.move(suggestion.id, "open", "its label was imported", now)
            self._annotation.move(suggestion.id, "submitted", "", now)
            self._db.table("artifact").insert(
                {"key": case, "stage": "truth", "bytes": 0, "seconds": 0.0, "created_at": now}, ignore=True
            )
            received = self._received(truth, suggestion, case, file, now)
            return self._labels.accept(
                received,
                case,
                role,
                int(label["n_objects"]),
                [str(w) for w in label["warnings"]],
                now,
                float(label["seen_fraction"]),
            )

    def _received(self, truth: TruthRow, suggestion: SuggestionRow, case: str, file: str, now: float) -> ReceivedRow:
        """What came in for one patch: the part of the mask in the artifact. Brought again, it is the same."""
        if not (found := self._labels.received("file = ?", [file])):
            note = {"tool": "import", "user": truth.author}
            row = {
                "suggestion_id": suggestion.id,
                "file": file,
                "sha256": case,
                "confirm_empty": 1,
                "author": truth.author,
                "note": json.dumps(note),
                "inbox_path": truth.path,
                "filed": 1,
                "state": "checking",
                "received_at": now,
            }
            insert(self._db, "received", row)
            found = self._labels.received("file = ?", [file])
        return found[0]
