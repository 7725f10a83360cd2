"""What each pseudo-label backend was worth on the held-out labels, and the promoted model on the same patches. Read-only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_BACKENDS = """
SELECT l.artifact, json_extract(made.params, '$.backend') FROM json_each(?) AS held
JOIN label l ON l.artifact = held.value
JOIN job checked ON checked.key = l.artifact
JOIN job package ON package.key = json_extract(checked.inputs, '$.package[0].key')
JOIN job made ON made.key = json_extract(package.inputs, '$.pseudo[0].key')
"""
"""From a label to the folder that the expert had, to the pseudo-labels in it, to the backend that made them."""


@dataclass(frozen=True)
class BackendScores:
    """n: held-out labels of patches that this backend pseudo-labelled. scores: of its pseudo-labels on them, model_scores: of
    the promoted model `model` on the same (both None where that was not scored): `alcore.types.Scores` as JSON."""

    backend: str
    n: int
    scores: Mapping[str, float]
    model: str | None
    model_scores: Mapping[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def backend_scores(db: sqlite3.Connection) -> list[BackendScores]:
    """By backend, most patches first; from the newest round that scored the pseudo-labels, empty before there was one.

    Counts of matches are summed over the patches of a backend, as everywhere.
    """
    sql = "SELECT labels_digest, per_label FROM evaluation WHERE model IS NULL ORDER BY rowid DESC LIMIT 1"
    newest = db.execute(sql).fetchone()
    if newest is None:
        return []
    pseudo = _counts(newest[1])
    sql = (
        "SELECT e.model, e.per_label FROM evaluation e JOIN model m ON m.version = e.model"
        " WHERE m.state = 'promoted' AND e.labels_digest = ?"
    )
    row = db.execute(sql, [newest[0]]).fetchone()
    version, model = (None, {}) if row is None else (str(row[0]), _counts(row[1]))
    by_backend: dict[str, list[str]] = {}
    for label, backend in db.execute(_BACKENDS, [json.dumps(sorted(pseudo))]):
        by_backend.setdefault(backend, []).append(label)
    found = [
        BackendScores(
            backend,
            len(labels),
            _pooled(pseudo, labels),
            version if all(label in model for label in labels) else None,
            _pooled(model, labels) if all(label in model for label in labels) else None,
        )
        for backend, labels in by_backend.items()
    ]
    return sorted(found, key=lambda b: (-b.n, b.backend))


def _counts(per_label: str) -> dict[str, dict[str, float]]:
    """Counts by label; those of before counts were kept are left out."""
    return {row["label"]: row["counts"] for row in json.loads(per_label) if "counts" in row}


def _pooled(counts: Mapping[str, Mapping[str, Any]], labels: list[str]) -> dict[str, float]:
    from alcore.arrays.matching import Counts, pool

    scores = pool(Counts(**counts[label]) for label in labels).to_json()
    if any("n_strict" not in counts[label] for label in labels):  # counted before there was this score
        del scores["ap75"]
    return scores
