"""The real learner: the stages pretrain, finetune, evaluate and predict of the daemon, with a plan that the device can train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError
from alcore.simulation.pool import LabelledPool, Rows
from alcore.stage import Input
from alcore.types import Scores

SEEN = ("entropy_bg", "entropy_fg", "foreground", "border", "n_objects")
"""Of patches.npz: what a prediction says of single patches."""


@dataclass(frozen=True)
class Training:
    """Params of the stages. plan: see `PlanRequest`. pretrain, finetune: schedules, as `Schedule` has them.

    Without pre-training a model learns from scratch for as many epochs as both together: the comparison is of what is learned
    from, not of how long. mix_patches, mix_share: pseudo-labelled patches that are rehearsed in fine-tuning. validation_share:
    of the labels, held out to say when to stop (none where they would be fewer than two): epochs are tuned on the pool.
    """

    plan: Any
    pretrain: Mapping[str, Any]
    finetune: Mapping[str, Any]
    mix_patches: int = 16
    mix_share: float = 0.2
    validation_share: float = 0.15

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Training:
        """From `Settings.training`. Raises PermanentError for a key that is missing or does not exist."""
        try:
            return cls(**value)
        except TypeError as e:
            raise PermanentError(f"training settings of a simulation: {e}") from e

    @property
    def scratch(self) -> dict[str, Any]:
        """The schedule without pre-training."""
        return {**self.finetune, "epochs": int(self.pretrain["epochs"]) + int(self.finetune["epochs"])}


class NnunetLearner:
    """A Learner whose models are artifacts: what was trained once is not trained again, and a killed training goes on."""

    def __init__(self, pool: LabelledPool, split: int, seed: int, rows: Rows) -> None:
        self._pool, self._rows, self._seed = pool, rows, seed
        self._split, self._how = split, Training.from_json(pool.settings.training)

    def learn(self, rows: Rows, pretrained: bool) -> Input:
        """See `Learner`: a model artifact."""
        if not len(rows):
            return self._pretrained
        how, pool = self._how, self._pool
        rest = np.setdiff1d(self._rows, rows)
        mixed = np.sort(np.random.default_rng([self._seed, 2]).permutation(rest)[: how.mix_patches])
        params: dict[str, Any] = {
            "plan": how.plan,
            "schedule": dict(how.finetune if pretrained else how.scratch),
            "seed": self._seed,
            "validation_share": how.validation_share,
            "mix_share": how.mix_share if pretrained and len(mixed) else 0.0,
        }
        inputs: dict[str, list[Input]] = {
            "model": [self._pretrained] if pretrained else [],
            "label": self._labels(rows),
        }
        if pretrained:
            inputs |= pool.voxels_inputs | {"pseudo": [pool.pseudo]}
            params |= {"read": [pool.read], "patches": self._patches(mixed)}
        return pool.shop.made("finetune", inputs, params)

    @cached_property
    def _pretrained(self) -> Input:
        """M_p: of the pseudo-labels of this seed's pool, without a patch near the test region."""
        pool, how = self._pool, self._how
        inputs = pool.voxels_inputs | {"pseudo": [pool.pseudo]}
        params = {
            "plan": how.plan,
            "schedule": dict(how.pretrain),
            "seed": self._seed,
            "read": [pool.read],
            "patches": self._patches(self._rows),
        }
        return pool.shop.made("pretrain", inputs, params)

    def _patches(self, rows: Rows) -> list[dict[str, Any]]:
        return [{"volume": 0, **self._pool.boxes[int(row)].to_json()} for row in rows]

    def _labels(self, rows: Rows) -> list[Input]:
        """Label artifacts of these patches, each a folder of one that holds the whole pool's, as the expert of this seed draws
        them."""
        pool = self._pool
        seed = self._seed if pool.settings.expert.errs else 0
        made = pool.labelled(seed)
        return [Input(made.path / f"{int(row):06d}", f"{made.key}/{int(row):06d}") for row in rows]

    def scores(self, model: Input) -> Scores:
        """See `Learner`: stage evaluate, which segments the test region as the daemon segments a held-out label."""
        made = self._pool.shop.made(
            "evaluate", {"model": [model], "label": [self._pool.exam(self._split)]}, {"iou": 0.5, "min_voxels": None}
        )
        return Scores(**self._pool.shop.result(made)["scores"])

    def seen(self, model: Input) -> dict[str, npt.NDArray[np.float32]]:
        """What stage predict says of the patches."""
        pool = self._pool
        params = {"read": pool.read, "version": "simulated", "min_voxels": None}
        made = pool.shop.made("predict", pool.voxels_inputs | {"model": [model]}, params)
        with np.load(made.path / "patches.npz") as stored:
            found = {name: stored[name][self._rows].astype(np.float32) for name in SEEN if name in stored.files}
        seen = pool.seen_traits
        return {n: np.where(np.isfinite(v), v, seen[n][self._rows] if n in seen else np.nan) for n, v in found.items()}

    def notes(self, model: Input) -> tuple[str, ...]:
        """See `Learner`."""
        told = json.loads((model.path / "manifest.json").read_text())["result"]
        return tuple(str(note) for note in told.get("notes", ()))
