"""Blind repeats in SQL: which labelled patches are put before a second person, and how well the two labels agree."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon.store.annotation import Annotation
from daemon.store.connection import insert, transaction
from daemon.store.repeat_listing import CURRENT_PAIRS
from daemon.store.rows import ReceivedRow

if TYPE_CHECKING:
    from sqlite_utils import Database

_REPEATABLE = (
    "FROM suggestion s JOIN label l ON l.patch_id = s.patch_id AND l.superseded_by IS NULL"
    " WHERE s.repeat_of IS NULL AND s.state = 'accepted' AND s.package IS NOT NULL AND l.author <> ''"
)


class Repeats:
    """A repeat is a suggestion like any other, but for its patch, which was labelled before by somebody else."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._annotation = Annotation(db)

    def ask_again(self, share: float, seed: int, now: float) -> list[str]:
        """Put labelled patches into the queue again until `share` of them were; returns the ids of the new suggestions.

        Nothing is asked again before two people have labelled under their names: who would there be to ask?
        """
        made: list[str] = []
        while share > 0:
            n, people = (
                self._count(f"SELECT COUNT(*) AS n {_REPEATABLE}"),
                self._count(f"SELECT COUNT(DISTINCT l.author) AS n {_REPEATABLE}"),
            )
            asked = self._count("SELECT COUNT(*) AS n FROM suggestion WHERE repeat_of IS NOT NULL")
            sql = f"SELECT s.id {_REPEATABLE} AND NOT EXISTS (SELECT 1 FROM suggestion t WHERE t.repeat_of = s.id) ORDER BY s.id"
            if people < 2 or asked >= math.floor(share * n + 1e-9):
                break
            free = [str(r["id"]) for r in self._db.query(sql)]
            if not free:
                break
            made.append(self._again(random.Random(f"{seed}:{asked}").choice(free), now))
        return made

    def _count(self, sql: str) -> int:
        return int(next(self._db.query(sql))["n"])

    def _again(self, suggestion_id: str, now: float) -> str:
        """The same patch with the same reasons under a new name: nothing tells it from the others."""
        with transaction(self._db):
            rank = self._count("SELECT COALESCE(MAX(rank), 0) + 1 AS n FROM suggestion")
            names = "patch_id, distance, reason, arm, why, nearest, neighbours, level"
            self._db.execute(
                f"INSERT INTO suggestion (id, rank, state, repeat_of, created_at, changed_at, {names})"
                f" SELECT ?, ?, 'open', id, ?, ?, {names} FROM suggestion WHERE id = ?",
                [f"s{rank:05d}", rank, now, now, suggestion_id],
            )
        return f"s{rank:05d}"

    def accept(self, received: ReceivedRow, artifact: str, n_objects: int, warnings: Sequence[str], now: float) -> None:
        """The label of a repeat passed its checks; the newest of a repeat counts, and all are kept."""
        row = {
            "received_id": received.id,
            "suggestion_id": received.suggestion.id,
            "artifact": artifact,
            "n_objects": n_objects,
            "author": received.author,
            "warnings": json.dumps(list(warnings)),
            "accepted_at": now,
        }
        with transaction(self._db):
            insert(self._db, "repeat_label", row)
            self._db.execute("UPDATE received SET state = 'accepted', filed = 0 WHERE id = ?", [received.id])
            self._annotation.move(received.suggestion.id, "accepted", "; ".join(warnings), now)

    def to_compare(self) -> list[tuple[str, str, str]]:
        """(suggestion of the repeat, artifact of the first label, of the second) of pairs that were not compared yet."""
        sql = f"SELECT suggestion, first, second FROM ({CURRENT_PAIRS}) p WHERE p.f1 IS NULL ORDER BY suggestion"
        return [(r["suggestion"], r["first"], r["second"]) for r in self._db.query(sql)]

    def compared(self, first: str, second: str, result: Mapping[str, Any], now: float) -> None:
        """Two labels were compared."""
        row = {
            "first": first,
            "second": second,
            "counts": json.dumps(dict(result["counts"])),
            "f1": float(result["scores"]["f1"]),
            "dice": float(result["scores"]["dice"]),
            "at": now,
        }
        with transaction(self._db):
            self._db.table("agreement").insert(row, replace=True)
