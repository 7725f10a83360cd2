"""Artifacts of a pool as the stage suggestions sees them, and asking it."""

from __future__ import annotations

import json

import numpy as np

from alcore.artifact import ArtifactStore
from alcore.run import QuietContext, execute
from alcore.stage import Input

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
    inputs = {
        "embedding": [v.embedding for v in volumes],
        "volume": [v.volume for v in volumes],
        "traits": [v.traits for v in volumes if v.traits],
        "prediction": [v.prediction for v in volumes if v.prediction],
    }
    for what in ("traits", "prediction"):
        keys = [v.embedding.key for v in volumes if getattr(v, what)]
        given[f"{what}_of"] = {key: i for i, key in enumerate(keys)}
    return execute("suggestions", inputs, given, store, ctx).result


def places(result: dict) -> list[tuple[str, int]]:
    return [(s["embedding"], s["row"]) for s in result["suggestions"]]
