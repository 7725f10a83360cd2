"""Volumes and patches in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alcore.types import Box
from daemon.stems import file_stem
from daemon.store.connection import insert, transaction
from daemon.store.rows import PatchRow, VolumeRow, members_of

if TYPE_CHECKING:
    from sqlite_utils import Database

SOURCES = """source_part l CROSS JOIN source x ON x.id = l.source_id
   WHERE l.volume_id = v.id AND l.current = 1 AND x.state = 'ingested' AND x.gone = 0 AND x.away = 0"""
_DONE = "job j WHERE j.stage = ? AND j.spec = ? AND j.volume_id = v.id AND j.state = 'done'"
READABLE = f"""
SELECT v.id, v.name, v.part, v.sha256, v.artifact, v.folder, v.read, v.n_patches, s.path, s.fingerprint, s.members
FROM volume v JOIN source s ON s.id =
  (SELECT MIN(x.id) FROM {SOURCES})
"""
"""Volumes whose bytes can be read now, each with one path.

CROSS JOIN: from the volume to its sources, never from all sources to the volume, which SQLite prefers without statistics.
"""


def volume_row(r: Mapping[str, Any]) -> VolumeRow:
    """Parse a row of `READABLE`."""
    return VolumeRow(
        id=r["id"],
        name=full_name(r["name"], r["part"]),
        sha256=r["sha256"],
        artifact=artifact_of(r["artifact"], r["folder"]),
        path=bytes(r["path"]),
        read=json.loads(r["read"]),
        n_patches=r["n_patches"],
        content=json.loads(r["fingerprint"]).get("content", "") if r["fingerprint"] else "",
        members=members_of(r["members"]),
    )


def artifact_of(key: str, folder: str) -> str:
    """Name of a volume's own artifact: that of its source, with its folder in it where the source holds several volumes."""
    return f"{key}/{folder}" if folder else key


def full_name(name: str, part: str) -> str:
    """A volume's name for people."""
    return f"{name} ({part})" if part else name


class Volumes:
    """The volume and patch tables, and which source holds which volumes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def ingest(
        self, source_id: int, fingerprint: str, artifact: str, result: Mapping[str, Any], now: float
    ) -> list[int]:
        """A source became volumes: new ones with their patches, or known ones under another name.

        What the source held before, and does not now, stays in history. Returns the ids of the new volumes. A source that
        changed meanwhile keeps its newer state.
        """
        with transaction(self._db):
            found = next(self._db.query("SELECT name, fingerprint FROM source WHERE id = ?", [source_id]))
            fresh, held = [], []
            for volume in result["volumes"]:
                sha256 = volume["info"]["sha256"]
                known = next(
                    (r["id"] for r in self._db.query("SELECT id FROM volume WHERE sha256 = ?", [sha256])), None
                )
                if known is None:
                    known = self._new_volume(found["name"], artifact, volume, now)
                    fresh.append(known)
                held.append(known)
            if found["fingerprint"] == fingerprint:
                self._hold(source_id, held, now)
                reason = "; ".join(f"{part}: {why}" for part, why in result["refused"][:3])
                self._db.execute(
                    "UPDATE source SET state = 'ingested', reason = ?, volume_id = ? WHERE id = ?",
                    [reason, held[0], source_id],
                )
        return fresh

    def _hold(self, source_id: int, held: Sequence[int], now: float) -> None:
        """These are the volumes of a source now."""
        marks = ", ".join("?" * len(held))
        self._db.execute(
            "UPDATE source_part SET current = 0, until = ? WHERE source_id = ? AND current = 1"
            f" AND volume_id NOT IN ({marks})",
            [now, source_id, *held],
        )
        for volume_id in held:
            self._db.execute(
                "INSERT INTO source_part (source_id, volume_id, since) VALUES (?, ?, ?)"
                " ON CONFLICT (source_id, volume_id) DO UPDATE SET current = 1, until = NULL",
                [source_id, volume_id, now],
            )

    def earlier_quality(self, volume_id: int, most: int = 20) -> list[dict[str, Any]]:
        """Quality records of the volumes before this one with the same dtype and number of channels, newest first."""
        sql = (
            "SELECT b.quality FROM volume v JOIN volume b ON b.id < v.id AND b.part = v.part"
            " AND json_extract(b.info, '$.dtype') = json_extract(v.info, '$.dtype')"
            " AND json_extract(b.info, '$.shape[0]') = json_extract(v.info, '$.shape[0]')"
            " WHERE v.id = ? AND b.quality <> '{}' ORDER BY b.id DESC LIMIT ?"
        )
        return [json.loads(r["quality"]) for r in self._db.query(sql, [volume_id, most])]

    def set_quality(self, volume_id: int, quality: Mapping[str, Any]) -> None:
        """What a first look at the volume, and at those before it, found."""
        with transaction(self._db):
            self._db.execute("UPDATE volume SET quality = ? WHERE id = ?", [json.dumps(dict(quality)), volume_id])

    def quality(self, volume_id: int) -> dict[str, Any]:
        """The record of `set_quality`."""
        row = next(self._db.query("SELECT quality FROM volume WHERE id = ?", [volume_id]))
        found: dict[str, Any] = json.loads(row["quality"])
        return found

    def _new_volume(self, name: str, artifact: str, volume: Mapping[str, Any], now: float) -> int:
        info = volume["info"]
        boxes = [Box.from_json(b) for b in volume["patches"]]
        volume_id = insert(
            self._db,
            "volume",
            {
                "sha256": info["sha256"],
                "name": name,
                "part": volume["part"],
                "folder": volume["folder"],
                "export_name": self._export_name(full_name(name, volume["part"]), info["sha256"]),
                "artifact": artifact,
                "info": json.dumps(info),
                "read": json.dumps(dict(volume["read"])),
                "notes": json.dumps(list(volume.get("notes", []))),
                "quality": json.dumps(dict(volume.get("quality", {}))),
                "n_patches": len(boxes),
                "created_at": now,
            },
        )
        self._db.conn.executemany(
            "INSERT INTO patch (volume_id, row, z, y, x, dz, dy, dx) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(volume_id, row, *box.start, *box.shape) for row, box in enumerate(boxes)],
        )
        return volume_id

    def _export_name(self, name: str, sha256: str) -> str:
        """A file name without suffix that is safe everywhere and belongs to this volume alone."""
        safe = file_stem(name)
        return f"{safe}-{sha256[:8]}" if self._is_taken(safe) else safe

    def _is_taken(self, stem: str) -> bool:
        """Does another volume have this name, for a file system that does not tell capitals from small letters?"""
        if stem.isascii():  # the capitals of which SQLite knows
            return any(self._db.query("SELECT 1 FROM volume WHERE export_name = ? COLLATE NOCASE", [stem]))
        alike = stem.casefold()
        return any(r["export_name"].casefold() == alike for r in self._db.query("SELECT export_name FROM volume"))

    def without(self, stage: str, spec: str, limit: int, among: Iterable[int] | None = None) -> list[VolumeRow]:
        """Readable volumes (`among` these, if they are given) for which no job of this stage and spec exists, oldest first."""
        those = "" if among is None else " AND v.id IN (SELECT value FROM json_each(?))"
        sql = READABLE + (
            "WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.stage = ? AND j.spec = ? AND j.volume_id = v.id)"
            f"{those} ORDER BY v.id LIMIT ?"
        )
        chosen = [] if among is None else [json.dumps(list(among))]
        return [volume_row(r) for r in self._db.query(sql, [stage, spec, *chosen, limit])]

    def readable(self) -> list[VolumeRow]:
        """Every volume whose bytes can be read now, oldest first."""
        return [volume_row(r) for r in self._db.query(READABLE + "ORDER BY v.id")]

    def n_readable_with(self, stage: str, spec: str) -> tuple[int, int]:
        """(volumes, patches in them) that can be read now and for which the job of this stage and spec is done."""
        sql = (
            "SELECT COUNT(*) AS n, COALESCE(SUM(v.n_patches), 0) AS patches FROM volume v"
            f" WHERE EXISTS (SELECT 1 FROM {_DONE}) AND EXISTS (SELECT 1 FROM {SOURCES})"
        )
        found = next(self._db.query(sql, [stage, spec]))
        return int(found["n"]), int(found["patches"])

    def readable_pool(self) -> tuple[int, int, int]:
        """(volumes, patches in them, sum of their ids) of all that can be read now: the same while the pool is."""
        sql = (
            "SELECT COUNT(*) AS n, COALESCE(SUM(v.n_patches), 0) AS patches, COALESCE(SUM(v.id), 0) AS ids FROM volume v"
            f" WHERE EXISTS (SELECT 1 FROM {SOURCES})"
        )
        found = next(self._db.query(sql))
        return int(found["n"]), int(found["patches"]), int(found["ids"])

    def get(self, volume_id: int) -> VolumeRow | None:
        """One volume if it can be read now."""
        return next((volume_row(r) for r in self._db.query(READABLE + "WHERE v.id = ?", [volume_id])), None)

    def export_name(self, volume_id: int) -> str:
        """Stem of the files that people get for this volume."""
        return str(next(self._db.query("SELECT export_name FROM volume WHERE id = ?", [volume_id]))["export_name"])

    def name(self, volume_id: int) -> str:
        """The volume's name for people."""
        row = next(self._db.query("SELECT name, part FROM volume WHERE id = ?", [volume_id]))
        return full_name(row["name"], row["part"])

    def n_volumes(self) -> int:
        """Volumes that were ever read."""
        return int(next(self._db.query("SELECT COUNT(*) AS n FROM volume"))["n"])

    def n_patches(self) -> int:
        """Patches in the pool."""
        return int(next(self._db.query("SELECT COALESCE(SUM(n_patches), 0) AS n FROM volume"))["n"])

    def pool_voxels(self) -> int:
        """Voxels in the pool."""
        return int(next(self._db.query("SELECT COALESCE(SUM(dz * dy * dx), 0) AS n FROM patch"))["n"])

    def patches(self, volume_id: int) -> list[PatchRow]:
        """The patches of one volume in row order."""
        sql = "SELECT * FROM patch WHERE volume_id = ? ORDER BY row"
        return [patch_row(r) for r in self._db.query(sql, [volume_id])]

    def patch(self, volume_id: int, row: int) -> PatchRow:
        """One patch of a volume."""
        sql = "SELECT * FROM patch WHERE volume_id = ? AND row = ?"
        return patch_row(next(self._db.query(sql, [volume_id, row])))

    def artifact(self, volume_id: int) -> str:
        """Key of the volume's own artifact."""
        row = next(self._db.query("SELECT artifact, folder FROM volume WHERE id = ?", [volume_id]))
        return artifact_of(row["artifact"], row["folder"])


def patch_row(r: Mapping[str, Any]) -> PatchRow:
    """Parse a row of the patch table."""
    return PatchRow(
        id=r["id"],
        volume_id=r["volume_id"],
        row=r["row"],
        box=Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"])),
    )
