"""Everything that the stage `report` is given: inputs by key, and what the page says, as params."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alcore.stage import Input
from daemon.look import look
from daemon.planner import Planner
from daemon.planner.report import MapVolume
from daemon.policy import digest
from daemon.reporting.content import CARDS, OPEN, content
from daemon.reporting.pool import current_encoder, gate_patches, noted, volumes_on_map
from daemon.store.rows import EncoderRow, Wanted

PICTURED = 400
"""Patches whose suggestion's folder is given to the stage, the newest first: their pictures are read there."""


@dataclass(frozen=True)
class Gathering:
    """One look at a workspace. planner: for recipes; db: a read-only connection."""

    planner: Planner
    db: sqlite3.Connection

    def encoder(self) -> str:
        """Artifact of the encoder that selects, "" before there is one."""
        return current_encoder(self.db) or ""

    def volumes(self) -> list[MapVolume]:
        """The volumes that it has embedded."""
        encoder = self.encoder()
        row = EncoderRow(0, encoder, "current", 0, "")
        return volumes_on_map(self.db, self.planner.embedding_spec(row), self.planner.kept_spec(row)) if encoder else []

    def latent_map(self, subject: str, before: Input | None) -> Wanted | None:
        """The map that ought to be; None while nothing is embedded. before: an earlier one of the same encoder."""
        volumes = self.volumes()
        return self.planner.latent_map(subject, self.encoder(), volumes, before) if volumes else None

    def gate_pictures(self, subject: str) -> Wanted | None:
        """The pictures of held-out patches that ought to be; None while none was scored."""
        gate = gate_patches(self.db)
        return None if gate is None else self.planner.gate_pictures(subject, gate)

    def report(self, subject: str, made: Mapping[str, Input | None], words: Mapping[str, str], now: float) -> Wanted:
        """The report. made: what there is of "latent_map" and "gate_pictures"; words: why there is no such thing, by its section
        (map, gate)."""
        settings, root = self.planner.settings, self.planner.workspace
        snapshot, known, volumes = look(root, now), noted(self.db), self.volumes()
        keys = {v.id: v.embedding for v in volumes}
        waiting = {q.id for q in [q for q in snapshot.queue if q.state in OPEN][:CARDS]}
        packages, patches, cards = self._pictured(known.notes, known.packages, keys, waiting)
        said = content(self.db, snapshot, root, cards, self.planner.device, digest(settings.model_dump(mode="json")))
        notes = {**said.notes, **words}
        if volumes:
            notes.setdefault("map", _about_map(known.newest))
        if made.get("gate_pictures") is not None:
            notes.setdefault("gate", self._about_gate())
        inputs = {
            "map": _some(made.get("latent_map")),
            "gate": _some(made.get("gate_pictures")),
            "package": packages,
            "source": [v.source for v in volumes if v.source is not None],
        }
        readable = [v.id for v in volumes if v.source is not None]
        numbers = {volume_id: i for i, volume_id in enumerate(readable)}
        params: dict[str, Any] = {
            "content": {**said.to_json(), "notes": notes},
            "volumes": [
                {
                    "key": v.embedding,
                    "name": v.name,
                    "source": numbers.get(v.id),
                    "read": dict(v.read),
                    "content": v.content,
                }
                for v in volumes
            ],
            "marks": {
                mark: {keys[volume]: list(rows) for volume, rows in found.items() if volume in keys}
                for mark, found in known.marks.items()
            },
            "patches": patches,
        }
        return self.planner.report(subject, inputs, params)

    def _pictured(
        self,
        notes: Mapping[tuple[int, int], str],
        artifacts: Mapping[tuple[int, int], str],
        keys: Mapping[int, str],
        waiting: set[str],
    ) -> tuple[list[Input], list[dict[str, Any]], dict[str, int]]:
        """(packages, what is known of single patches, number of the package of each suggestion that waits)."""
        ids = {
            r["package"]: r["id"]
            for r in self.db.execute(
                "SELECT id, package FROM suggestion WHERE package IS NOT NULL AND repeat_of IS NULL"
            )
        }
        newest = set(list(artifacts.values())[-PICTURED:])
        packages: list[Input] = []
        numbers: dict[str, int] = {}
        for artifact in artifacts.values():
            given = self.planner.artifact(artifact)
            if (artifact in newest or ids.get(artifact) in waiting) and given.path.is_dir():
                numbers[artifact] = len(packages)
                packages.append(given)
        patches = [
            {"key": keys[at[0]], "row": at[1], "note": note, "package": numbers.get(artifacts.get(at, ""))}
            for at, note in notes.items()
            if at[0] in keys
        ]
        return packages, patches, {ids[a]: n for a, n in numbers.items() if ids.get(a) in waiting}

    def _about_gate(self) -> str:
        gate = gate_patches(self.db)
        if gate is None:
            return ""
        total = self.db.execute(
            "SELECT json_array_length(per_label) AS n FROM evaluation WHERE model = ? ORDER BY rowid DESC LIMIT 1",
            [gate.version],
        ).fetchone()
        return (
            f"{len(gate.labels)} of the {total['n']} held-out patches that {gate.version} was scored on, from the worst Dice to the "
            "best. Each is shown in the slice in which the expert drew most; the scores are of the whole patch."
        )


def _about_map(newest: str) -> str:
    return (
        "Every patch of the pool as the encoder sees it: patches that look alike lie near to each other. Outliers look broken, or "
        f"are the farthest of a volume unlike all before it; newest: {newest}. Distances between far groups mean little."
    )


def _some(item: Input | None) -> list[Input]:
    return [] if item is None else [item]


def stamp() -> str:
    """Subject of a report that a person asked for."""
    return f"asked:{time.time():.3f}"
