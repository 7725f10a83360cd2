"""A pool of any size at rest whose results that selection reads really lie on the disk: boxes, vectors, traits, predictions.

Written as `alcore.artifact.ArtifactStore` writes them, but not synced one by one, which would take hours for a million patches.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.artifact import MANIFEST, Manifest
from daemon.store.rows import PoolVolume
from tests.daemon.pool import Pool

PER_VOLUME = 50
BOXES = [
    {"start": [z, y, x], "shape": [32, 256, 256]}
    for z in (0, 32)
    for y in range(0, 1280, 256)
    for x in range(0, 1280, 256)
]
DIM = 176
"""Of the descriptor's vectors, of images of one channel."""
COMPONENTS = 500
"""Kinds of patches: vectors lie around so many points of the sphere, each cloud as wide as the points are long."""


def volumes_of(pool: Pool) -> Sequence[PoolVolume]:
    """The volumes that selection knows, oldest first."""
    encoder = pool.store.encoders.in_use()["current"]
    return pool.store.selection.pool(pool.planning.selection._levels(encoder, pool.now))


def write(pool: Pool, volumes: Sequence[PoolVolume]) -> None:
    """The artifacts of these volumes, where they are not there yet."""
    encoder = pool.store.encoders.in_use()["current"].artifact
    path = pool.workspace.artifacts.path
    for volume in volumes:
        rng = np.random.default_rng(volume.id)
        _put(path(volume.artifact), "volume", {}, {"patches.json": json.dumps(BOXES).encode()}, {})
        rows = {"embeddings.npy": _npy(vectors(PER_VOLUME, DIM, rng))}
        told = {"n": PER_VOLUME, "dim": DIM, "flat": []}
        _put(path(volume.embedding), "embedding", {"encoder": [encoder]}, rows, told)
        found = {name: rng.random(PER_VOLUME, np.float32) for name in ("foreground", "border")}
        found |= {"n_objects": 20 * found["foreground"], "confidence": found["border"], "clipped": 0 * found["border"]}
        found |= {"sharpness": 1 + found["foreground"], "contrast": 1 + found["border"], "blank": found["clipped"]}
        if volume.traits is not None:
            _put(path(volume.traits), "traits", {}, {"traits.npz": _npz(found)}, {"n": PER_VOLUME})
        if volume.prediction is not None:
            seen = {name: found[name] for name in ("foreground", "border", "n_objects")}
            seen |= {name: 0.1 * rng.random(PER_VOLUME, np.float32) for name in ("entropy_bg", "entropy_fg")}
            _put(path(volume.prediction), "predict", {}, {"patches.npz": _npz(seen)}, {"n_objects": 5})


def vectors(n: int, dim: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(n, dim) unit rows of a mixture that is the same for everybody who asks for as many dimensions."""
    centres = _centres(dim)
    rows = centres[rng.integers(0, len(centres), n)] + rng.standard_normal((n, dim), np.float32)
    unit: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@cache
def _centres(dim: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((COMPONENTS, dim), np.float32)


def _put(
    path: Path, stage: str, inputs: dict[str, list[str]], files: Mapping[str, bytes], result: dict[str, Any]
) -> None:
    if (path / MANIFEST).exists():
        return
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    told = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
    manifest = Manifest(path.name, stage, 1, {}, inputs, told, result, 0.1)
    (path / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))


def _npy(rows: npt.NDArray[np.float32]) -> bytes:
    out = io.BytesIO()
    np.save(out, rows)
    return out.getvalue()


def _npz(arrays: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
