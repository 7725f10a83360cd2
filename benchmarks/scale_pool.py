"""A pool of a million patches on the disk: every artifact that choosing patches reads, as the stages write them.

`python -m benchmarks.scale_pool <folder> <patches>` makes one.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from alcore.artifact import MANIFEST, Manifest
from alcore.index.artifact import VECTORS
from alcore.selection.blocks import FROM_IMAGE, FROM_MODEL
from benchmarks.footprint import known_volumes
from tests.daemon.pool import Pool

PER_VOLUME = 50
"""Patches of a volume: one million in 20,000 volumes."""
DIM = 192
GROUPS, INNER = 40, 8
"""The embeddings: so many kinds of tissue, each with so many directions in which patches of it differ."""


def boxes() -> list[dict[str, list[int]]]:
    """Of the patches of every volume: 5 x 10 in the plane."""
    return [{"start": [0, 256 * y, 256 * x], "shape": [32, 256, 256]} for y in range(5) for x in range(10)]


class Artifacts:
    """Writes the artifacts of volumes that a pool has in its database; nothing of it is made durable."""

    def __init__(self, pool: Pool, seed: int = 0) -> None:
        self._pool, self._random = pool, np.random.default_rng(seed)
        self._centres = self._random.normal(size=(GROUPS, DIM))
        self._directions = self._random.normal(size=(GROUPS, INNER, DIM))

    def write(self, volumes: Sequence[int]) -> None:
        """What is known of these volumes, by their ids."""
        db, artifacts = self._pool.store._db, self._pool.workspace.artifacts
        encoder = self._pool.store.encoders.in_use()["current"].artifact
        for volume in volumes:
            keys = dict(
                db.execute(
                    "SELECT stage, key FROM job WHERE volume_id = ? AND stage IN ('embedding', 'traits', 'predict')",
                    [volume],
                ).fetchall()
            )
            keys["volume"] = db.execute("SELECT artifact FROM volume WHERE id = ?", [volume]).fetchone()[0]
            for stage, key in keys.items():
                folder = artifacts.path(key)
                if folder.exists():
                    continue
                folder.mkdir(parents=True)
                result = getattr(self, f"_{stage}")(folder)
                inputs = {"encoder": [encoder]} if stage == "embedding" else {}
                manifest = Manifest(key, stage, 1, {}, inputs, {}, result, 0.1)
                (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))

    def _volume(self, folder: Path) -> dict[str, object]:
        (folder / "patches.json").write_text(json.dumps(self._pool.patches))
        return {}

    def _embedding(self, folder: Path) -> dict[str, object]:
        n = len(self._pool.patches)
        group = int(self._random.integers(GROUPS))
        inside = self._random.normal(size=(n, INNER)) @ self._directions[group]
        rows = self._centres[group] + 0.3 * inside + 0.05 * self._random.normal(size=(n, DIM))
        np.save(folder / VECTORS, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        return {"n": n, "dim": DIM, "flat": []}

    def _traits(self, folder: Path) -> dict[str, object]:
        np.savez(folder / "traits.npz", **self._figures(FROM_IMAGE))
        return {}

    def _predict(self, folder: Path) -> dict[str, object]:
        np.savez(folder / "patches.npz", **self._figures(FROM_MODEL))
        return {}

    def _figures(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: self._random.uniform(0.05, 0.3, len(self._pool.patches)).astype(np.float32) for name in names}


def main() -> int:
    """Files, database and artifacts of so many patches, with nothing left to do."""
    root, n = Path(sys.argv[1]), int(sys.argv[2]) // PER_VOLUME
    known_volumes(root, n, boxes())
    with contextlib.closing(Pool(root, boxes())) as pool:
        Artifacts(pool).write([volume.id for volume in pool.volumes()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
