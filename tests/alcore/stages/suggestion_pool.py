"""Artifacts of a pool as the stage suggestions sees them, and asking it."""

from __future__ import annotations

import json

import numpy as np

from alcore.artifact import ArtifactStore
from alcore.run import QuietContext, execute
from alcore.stage import Input
from tests.pages import written

DIM = 16
STRATEGIES = ["guided", "coreset", "random", "foreground", "typiclust", "herding", "uncertainty"]


def clustered(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, DIM)) + 3 * rng.normal(size=(3, DIM))[rng.integers(0, 3, n)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Volume:
    """Artifacts of one volume as the stage sees them, with n patches in a row along x."""

    def __init__(self, store: ArtifactStore, name: str, rows: np.ndarray, encoder: str = "encoder-1", flat: tuple = ()):
        self.store, self.name = store, name
        boxes = [{"start": [0, 0, 32 * i], "shape": [8, 32, 32]} for i in range(len(rows))]
        self.volume = self._made(
            "volume", {}, lambda out: {"patches": (out / "patches.json").write_text(json.dumps(boxes))}
        )
        self.embedding = self._made(
            "embedding",
            {"encoder": [Input(store.root, encoder)]},
            lambda out: np.save(out / "embeddings.npy", rows) or {"n": len(rows), "flat": list(flat)},
        )
        self.traits: Input | None = None
        self.prediction: Input | None = None

    def _made(self, stage: str, inputs: dict, fill) -> Input:
        key = f"{stage}-{self.name}"
        self.store.create(key, stage, 1, {}, inputs, fill)
        return Input(self.store.path(key), key)

    def with_traits(self, **arrays: np.ndarray) -> Volume:
        self.traits = self._made("traits", {}, lambda out: np.savez(out / "traits.npz", **arrays) or {})
        return self

    def with_prediction(self, **arrays: np.ndarray) -> Volume:
        self.prediction = self._made(
            "predict", {}, lambda out: (np.savez(out / "patches.npz", **arrays) if arrays else None) or {}
        )
        return self


def suggest(store: ArtifactStore, ctx: QuietContext, volumes: list[Volume], **params: object) -> dict:
    given = {"strategy": "coreset", "covered": {}, "n": 5, "initial": 3, "seed": 11} | params
    return execute("suggestions", {"page": paged(store, volumes)}, given, store, ctx).result


def paged(store: ArtifactStore, volumes: list[Volume]) -> list[Input]:
    """The pages of these volumes, two on each."""
    known = [{name: getattr(v, name) for name in ("embedding", "volume", "traits", "prediction")} for v in volumes]
    return written(store, [{name: item.key for name, item in row.items() if item is not None} for row in known])


def places(result: dict) -> list[tuple[str, int]]:
    return [(s["embedding"], s["row"]) for s in result["suggestions"]]
