"""Patches that people were shown and whose acquisition cannot be read any more, in SQL: what was kept of them, and its vectors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.store.schema_claims import TAKEN_BACK
from daemon.store.volumes import SOURCES

if TYPE_CHECKING:
    from sqlite_utils import Database

STAGE = "kept_embedding"

_EMBEDDED = "job e WHERE e.stage = 'embedding' AND e.spec = :embedding AND e.volume_id = v.id AND e.state = 'done'"


@dataclass(frozen=True)
class KeptEmbedding:
    """Vectors of some patches (rows of their volume) from what was kept of them. artifact: "" until they are there."""

    rows: frozenset[int]
    artifact: str


class Kept:
    """A job of stage kept_embedding speaks of one volume, by its subject: it must not wait for that volume's file."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def images(self, embedding: str) -> dict[int, dict[int, str]]:
        """Volumes that cannot be read now and were never embedded by this spec, with their patches that people were shown: volume
        id -> {patch row: artifact with its image}, that of its label or of its suggestion's folder."""
        sql = (
            "SELECT p.volume_id, p.row, COALESCE(s.package, (SELECT l.artifact FROM label l WHERE l.patch_id = s.patch_id"
            " AND l.superseded_by IS NULL)) AS image FROM suggestion s CROSS JOIN patch p ON p.id = s.patch_id"
            f" CROSS JOIN volume v ON v.id = p.volume_id WHERE s.skip_kind <> '{TAKEN_BACK}' AND s.repeat_of IS NULL"
            f" AND image IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {SOURCES}) AND NOT EXISTS (SELECT 1 FROM {_EMBEDDED})"
            " ORDER BY p.volume_id, p.row"
        )
        found: dict[int, dict[int, str]] = {}
        for r in self._db.query(sql, {"embedding": embedding}):
            found.setdefault(r["volume_id"], {})[r["row"]] = r["image"]
        return found

    def jobs(self, spec: str) -> dict[int, list[KeptEmbedding]]:
        """All that was ever asked for by this spec, by volume id, oldest first."""
        sql = "SELECT subject, key, state, params ->> 'rows' AS rows FROM job WHERE stage = ? AND spec = ? ORDER BY id"
        found: dict[int, list[KeptEmbedding]] = {}
        for r in self._db.query(sql, [STAGE, spec]):
            made = KeptEmbedding(frozenset(json.loads(r["rows"])), r["key"] if r["state"] == "done" else "")
            found.setdefault(volume_of(r["subject"]), []).append(made)
        return found

    def stand_in(self, spec: str, embedding: str) -> dict[int, KeptEmbedding]:
        """The newest vectors of every volume that has no embedding of its own by this encoder, by volume id."""
        done = {volume: made for volume, jobs in self.jobs(spec).items() for made in jobs if made.artifact}
        if not done:
            return {}
        sql = f"SELECT v.id FROM volume v WHERE v.id IN (SELECT value FROM json_each(:ids)) AND EXISTS (SELECT 1 FROM {_EMBEDDED})"
        own = {r["id"] for r in self._db.query(sql, {"ids": json.dumps(list(done)), "embedding": embedding})}
        return {volume: made for volume, made in sorted(done.items()) if volume not in own}


def subject(volume_id: int) -> str:
    """That of the jobs of a volume."""
    return f"kept:{volume_id}"


def volume_of(subject: str) -> int:
    """The volume that a job speaks of."""
    return int(subject.removeprefix("kept:"))


def asked_for(rows: Collection[int], jobs: Mapping[int, list[KeptEmbedding]], volume_id: int) -> bool:
    """Was one of these jobs, of this volume, asked for all of these patches?"""
    return any(set(rows) <= job.rows for job in jobs.get(volume_id, ()))
