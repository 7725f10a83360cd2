"""Encoder versions in SQL: which one selects, which one embeds the pool, and which were refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daemon.store.connection import insert, transaction
from daemon.store.rows import EncoderRow

if TYPE_CHECKING:
    from sqlite_utils import Database

_COLUMNS = "id, artifact, state, n_patches, kind, design"


class Encoders:
    """embedding -> current -> retired, or rejected from the beginning. At most one is current and one embedding."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def in_use(self) -> dict[str, EncoderRow]:
        """The encoders in use, by state: "current" and "embedding"."""
        sql = f"SELECT {_COLUMNS} FROM encoder WHERE state IN ('current', 'embedding')"
        return {r["state"]: EncoderRow(**r) for r in self._db.query(sql)}

    def add(
        self, recipe: str, kind: str, design: str, n_patches: int, result: Mapping[str, Any], now: float, spare: bool
    ) -> EncoderRow:
        """A version that passed its self-test; it serves once every volume is embedded with it.

        spare: of a kind that never takes over from another kind: it is retired at once if one of those serves. One that has
        not embedded everything yet serves as it is if there is no other, and is retired otherwise.
        """
        with transaction(self._db):
            in_use = self.in_use()
            spared = spare and any(e.kind != kind for e in in_use.values())
            if not spared:
                finish = "retired" if "current" in in_use else "current"
                self._db.execute("UPDATE encoder SET state = ? WHERE state = 'embedding'", [finish])
            made = self._insert(recipe, kind, "retired" if spared else "embedding", design, n_patches, result, now)
        return made

    def reject(
        self,
        recipe: str,
        kind: str,
        design: str,
        n_patches: int,
        reason: str,
        figures: Mapping[str, Any],
        now: float,
    ) -> None:
        """A version that failed its self-test: kept with its figures, never used."""
        with transaction(self._db):
            self._insert(recipe, kind, "rejected", design, n_patches, figures, now, reason)

    def _insert(
        self,
        recipe: str,
        kind: str,
        state: str,
        design: str,
        n_patches: int,
        result: Mapping[str, Any],
        now: float,
        reason: str = "",
    ) -> EncoderRow:
        """One attempt has one row: trying it again by hand replaces its refusal."""
        self._db.execute("DELETE FROM encoder WHERE recipe = ? AND state = 'rejected'", [recipe])
        artifact = None if state == "rejected" else recipe
        row = {
            "kind": kind,
            "recipe": recipe,
            "artifact": artifact,
            "state": state,
            "design": design,
            "n_patches": n_patches,
            "result": json.dumps(dict(result)),
            "reason": reason,
            "created_at": now,
        }
        return EncoderRow(insert(self._db, "encoder", row), recipe, state, n_patches, kind, design)

    def switch(self, encoder_id: int) -> None:
        """The new embeddings are complete: from this transaction on they are the ones that select."""
        with transaction(self._db):
            self._db.execute("UPDATE encoder SET state = 'retired' WHERE state = 'current'")
            self._db.execute("UPDATE encoder SET state = 'current' WHERE id = ?", [encoder_id])

    def refuse(self, encoder_id: int, reason: str) -> None:
        """A version that passed its self-test and is of no use all the same: it is never used."""
        with transaction(self._db):
            sql = "UPDATE encoder SET state = 'rejected', artifact = NULL, reason = ? WHERE id = ?"
            self._db.execute(sql, [reason, encoder_id])

    def revive(self, kind: str | None, design: str | None = None) -> EncoderRow | None:
        """The newest retired encoder (of a kind, of a design) embeds again what it has not yet; None when there is none."""
        sql = (
            f"SELECT {_COLUMNS} FROM encoder WHERE state = 'retired' AND kind = COALESCE(?, kind)"
            " AND design = COALESCE(?, design) ORDER BY id DESC LIMIT 1"
        )
        with transaction(self._db):
            found = next((EncoderRow(**r) for r in self._db.query(sql, [kind, design])), None)
            if found is not None:
                self._db.execute("UPDATE encoder SET state = 'retired' WHERE state = 'embedding'")
                self._db.execute("UPDATE encoder SET state = 'embedding' WHERE id = ?", [found.id])
        return found

    def tried_on(self, kind: str, design: str) -> int | None:
        """Patches in the largest pool on which an encoder of this kind and design was tried, whether it passed or was refused."""
        sql = "SELECT MAX(n_patches) AS n FROM encoder WHERE kind = ? AND design = ?"
        found: int | None = next(self._db.query(sql, [kind, design]))["n"]
        return found
