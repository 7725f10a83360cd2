"""What training asks of the database: which data is there, which model was made for which data, which labels are new."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alcore.kinds import Kind, MadeFor
from alcore.types import Box
from daemon.store.job_levels import GAVE_UP, PASSING, GaveUp
from daemon.store.label_keys import IN_A_ROUND, SEEN
from daemon.store.rows import JobRow, ModelRow
from daemon.store.volumes import SOURCES

if TYPE_CHECKING:
    from sqlite_utils import Database

_KIND = "json_extract(v.info, '$.shape[0]') AS channels, json_extract(v.info, '$.voxel_um') AS voxel_um"


@dataclass(frozen=True)
class Amount:
    """Volumes of one kind that have pseudo-labels and can be read now, and the patches in them. n_planes: how many of the
    volumes are single planes."""

    kind: Kind
    n_volumes: int
    n_patches: int
    n_planes: int = 0


class Training:
    """Read-only questions."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def amounts(self, pseudo_spec: str) -> list[Amount]:
        """What is there to pre-train on, by kind; the kind of the oldest volume first."""
        sql = (  # one look into the JSON of each volume: there may be tens of thousands
            "SELECT json_extract(v.info, '$.shape', '$.voxel_um') AS what, COUNT(*), SUM(v.n_patches)"
            " FROM volume v WHERE EXISTS (SELECT 1 FROM job j WHERE j.stage = 'pseudo' AND j.spec = ? AND j.volume_id = v.id"
            " AND j.state = 'done')"
            f" AND EXISTS (SELECT 1 FROM {SOURCES}) GROUP BY what ORDER BY MIN(v.id)"
        )
        found: dict[Kind, Amount] = {}
        for what, n, patches in self._db.conn.execute(sql, [pseudo_spec]):
            (channels, depth, *_), voxel_um = json.loads(what)
            kind = _kind(channels, None if voxel_um is None else json.dumps(voxel_um))
            known = found.get(kind, Amount(kind, 0, 0))
            planes = known.n_planes + (n if depth == 1 else 0)
            found[kind] = Amount(kind, known.n_volumes + n, known.n_patches + patches, planes)
        return list(found.values())

    def kinds(self, volume_ids: Iterable[int]) -> dict[int, Kind]:
        """The kind of each of these volumes."""
        sql = f"SELECT v.id, {_KIND} FROM volume v WHERE v.id IN (SELECT value FROM json_each(?))"
        rows = self._db.query(sql, [json.dumps(sorted(set(volume_ids)))])
        return {r["id"]: _kind(r["channels"], r["voxel_um"]) for r in rows}

    def pretrained(self) -> list[tuple[ModelRow, MadeFor | None]]:
        """Every M_p with the data that it was made for (None: it is from a time when there was one for all), newest first."""
        sql = (
            "SELECT m.version, m.kind, m.state, m.artifact, m.parent, m.n_labels, j.result FROM model m"
            " JOIN job j ON j.key = m.artifact WHERE m.kind = 'pretrained' ORDER BY m.id DESC"
        )
        return [(ModelRow(**r), _made_for(result)) for r in self._db.query(sql) for result in [r.pop("result")]]

    def made_for(self, artifact: str) -> MadeFor | None:
        """The data that the model in this artifact was made for; None where its training did not say."""
        row = next(self._db.query("SELECT result FROM job WHERE key = ? AND state = 'done'", [artifact]), None)
        return None if row is None else _made_for(row["result"])

    def held_out(self) -> list[tuple[int, Box]]:
        """(volume id, box) of every patch that was ever labelled to judge models."""
        sql = "SELECT * FROM patch WHERE id IN (SELECT patch_id FROM label WHERE role = 'gate') ORDER BY id"
        return [
            (r["volume_id"], Box((r["z"], r["y"], r["x"]), (r["dz"], r["dy"], r["dx"]))) for r in self._db.query(sql)
        ]

    def takes_held_out(self, pretraining: JobRow) -> bool:
        """Does this pre-training take a patch that is held out by now? Also where a volume of it cannot be read: of that nobody
        knows."""
        sql = f"SELECT v.artifact, v.id FROM volume v WHERE EXISTS (SELECT 1 FROM {SOURCES})"
        readable = {r["artifact"]: r["id"] for r in self._db.query(sql)}
        volumes = [readable.get(item.key) for item in pretraining.inputs["volume"]]
        taken = [(volumes[p["volume"]], Box.from_json(p)) for p in pretraining.params["patches"]]
        held_out = self.held_out()
        return None in volumes or any(v == w and box.overlaps(b) for v, box in taken for w, b in held_out)

    def tried(self) -> list[tuple[str, str, str]]:
        """(kind of data, subject, state) of every pre-training, oldest first; "passed" where it was cancelled, but by nobody."""
        state = f"CASE WHEN {PASSING} THEN 'passed' ELSE state END AS state"
        sql = f"SELECT spec, subject, {state} FROM job WHERE stage = 'pretrain' ORDER BY id"
        return [(r["spec"], r["subject"], r["state"]) for r in self._db.query(sql)]

    def gave_up(self) -> dict[str, GaveUp]:
        """By kind of data: its newest pre-training, where that failed for a reason that may pass. failures: of all of the kind."""
        sql = (
            "SELECT id AS job_id, finished_at AS at, spec, (SELECT COUNT(*) FROM job o JOIN job_event e ON e.job_id = o.id"
            " AND e.finish = 'failed' WHERE o.stage = 'pretrain' AND o.spec = job.spec) AS failures FROM job WHERE id IN"
            f" (SELECT MAX(id) FROM job WHERE stage = 'pretrain' AND spec <> '' GROUP BY spec) AND {GAVE_UP}"
        )
        return {r.pop("spec"): GaveUp(**r) for r in self._db.query(sql)}

    def n_new_labels(self) -> int:
        """Labels that no round has learned from or judged by, but for one that failed; 0 where none of them is for training."""
        return self._n_labels(f"NOT {SEEN}")

    def n_labels_in_no_round(self) -> int:
        """The same without those of a round that failed: what came after the newest round was opened."""
        return self._n_labels(f"NOT {IN_A_ROUND}")

    def _n_labels(self, where: str) -> int:
        sql = (
            "SELECT COUNT(*) AS n, COALESCE(SUM(l.role = 'train'), 0) AS train FROM label l"
            f" WHERE l.superseded_by IS NULL AND {where}"
        )
        found = next(self._db.query(sql))
        return int(found["n"]) if found["train"] else 0

    def n_new_labels_of(self, moment: float) -> int:
        """Training labels that were there at a moment and are in no round."""
        sql = (
            "SELECT COUNT(*) AS n FROM label l WHERE l.superseded_by IS NULL AND l.role = 'train' AND l.accepted_at <= ?"
            f" AND NOT {IN_A_ROUND}"
        )
        return int(next(self._db.query(sql, [moment]))["n"])

    def is_training(self) -> bool:
        """Does a training run now?"""
        sql = "SELECT 1 FROM job WHERE stage IN ('pretrain', 'finetune') AND state = 'running' LIMIT 1"
        return any(self._db.query(sql))

    def ended(self, between: Mapping[str, tuple[float, float]]) -> list[int]:
        """Jobs that ended so, from the first moment on and before the second (seconds since the epoch)."""
        sql = "SELECT id FROM job WHERE state = ? AND COALESCE(finished_at, 0) >= ? AND COALESCE(finished_at, 0) < ?"
        return [
            r["id"] for state, (since, until) in between.items() for r in self._db.query(sql, [state, since, until])
        ]


def _kind(channels: int, voxel_um: str | None) -> Kind:
    return Kind.of(channels, None if voxel_um is None else json.loads(voxel_um))


def _made_for(result: str) -> MadeFor | None:
    about = json.loads(result)
    if "data" not in about:
        return None
    z, y, x = about["plan"]["binning"]
    return MadeFor(
        Kind.from_json(about["data"]), (int(z), int(y), int(x)), about["plan"].get("instances", "components")
    )
