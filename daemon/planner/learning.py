"""What ought to be learned from labels and pseudo-labels: models, their scores, and segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alcore.arrays.splits import buffered
from alcore.stage import Input
from alcore.types import Box
from daemon.planner.base import Recipes
from daemon.policy import PRIORITY, plan_name, plan_request, schedule
from daemon.store.rows import LabelRow, ModelRow, PatchRow, RoundRow, VolumeRow, Wanted

PSEUDO_LABELS = "pseudo-labels"
"""Stands for a model's name where the pseudo-labels themselves are scored."""


class LearningRecipes(Recipes):
    """From the labels of a round to the segmentation of every volume."""

    def pretrain(
        self, volumes: Sequence[tuple[VolumeRow, str]], patches: Sequence[PatchRow], of_volumes: int, kind: str
    ) -> Wanted:
        """Enough pseudo-labels of a kind of data exist: M_p ought to. volumes: each with the key of its pseudo-labels;
        of_volumes: from how many they were chosen."""
        plan = plan_name(self.settings, self.device)
        return Wanted(
            stage="pretrain",
            subject=f"pretrain:{of_volumes}",
            inputs=self._voxels(volumes),
            params={
                "plan": plan_request(self.settings, self.device),
                "schedule": schedule(self.settings.training.pretrain_schedule, plan, "pretrain"),
                "seed": self.settings.run.seed,
            }
            | self._patches(volumes, patches)
            | self._least_confidence(),
            priority=PRIORITY["pretrain"],
            spec=kind,
        )

    def finetune(
        self,
        round_: RoundRow,
        start: ModelRow | None,
        mix: Sequence[tuple[VolumeRow, str]],
        mix_patches: Sequence[PatchRow],
    ) -> Wanted:
        """A round is open: its model ought to exist. mix: pseudo-labelled volumes to train on as well."""
        plan = plan_name(self.settings, self.device)
        return Wanted(
            stage="finetune",
            subject=f"round:{round_.number}",
            inputs={
                "model": [self.artifact(start.artifact)] if start else [],
                "label": [self.artifact(label.artifact) for label in round_.train],
            }
            | self._voxels(mix),
            params={
                "plan": plan_request(self.settings, self.device),
                "schedule": schedule(self.settings.training.finetune_schedule, plan, "finetune"),
                "mix_share": self.settings.training.mix_share if mix_patches else 0.0,
                "validation_share": self.settings.training.validation_share,
                "seed": self.settings.run.seed + round_.number,
            }
            | self._patches(mix, mix_patches)
            | self._least_confidence(),
            priority=PRIORITY["finetune"],
            spec="",
        )

    def _least_confidence(self) -> dict[str, float]:
        least = self.settings.training.pretrain_min_confidence
        return {"min_confidence": least} if least else {}

    def _voxels(self, volumes: Sequence[tuple[VolumeRow, str]]) -> dict[str, list[Input]]:
        return {
            "volume": [self.artifact(v.artifact) for v, _ in volumes],
            "source": [self.source(v) for v, _ in volumes],
            "pseudo": [self.artifact(key) for _, key in volumes],
        }

    @staticmethod
    def _patches(volumes: Sequence[tuple[VolumeRow, str]], patches: Sequence[PatchRow]) -> dict[str, Any]:
        index = {v.id: i for i, (v, _) in enumerate(volumes)}
        return {
            "read": [dict(v.read) for v, _ in volumes],
            "patches": [{"volume": index[p.volume_id], **p.box.to_json()} for p in patches],
        }

    def evaluate(
        self, model: ModelRow | None, gate: Sequence[LabelRow], trained: Sequence[tuple[int, Box]] = ()
    ) -> Wanted:
        """A model (None: the pseudo-labels) ought to be scored on a frozen set of held-out labels.

        trained: (volume id, box) of every patch that some model learned from; what lies near to them is left out.
        """
        near = [
            [part.to_json() for part in buffered(label.box, [box for v, box in trained if v == label.volume_id])]
            for label in gate
        ]
        name = model.version if model else PSEUDO_LABELS
        return Wanted(
            stage="evaluate",
            subject=f"evaluate:{name}",
            inputs={
                "model": [self.artifact(model.artifact)] if model else [],
                "label": [self.artifact(label.artifact) for label in gate],
            },
            params={"iou": 0.5} | self.predict_params() | ({"near": near} if any(near) else {}),
            priority=PRIORITY["evaluate"],
            spec="",
        )

    def predict_spec(self, model: ModelRow) -> str:
        """Name of segmenting with one model."""
        return self.spec("predict", model.artifact, self.predict_params(), self.output_params())

    def predict_params(self) -> dict[str, Any]:
        """How predictions become instances, as config.toml says."""
        least = self.settings.prediction
        volume = {"min_um3": least.min_object_um3} if least.min_object_um3 else {}
        return {"min_voxels": least.min_object_voxels or None} | volume

    def output_params(self) -> dict[str, Any]:
        """How segmentations are written, as config.toml says."""
        prediction = self.settings.prediction
        return {"zarr_above_gb": prediction.zarr_above_gb, "uncertainty": prediction.uncertainty}

    def predict(self, volume: VolumeRow, model: ModelRow, priority: int = PRIORITY["predict"]) -> Wanted:
        """The promoted model ought to have segmented every volume."""
        return Wanted(
            stage="predict",
            subject=f"volume:{volume.id}",
            inputs={
                "model": [self.artifact(model.artifact)],
                "volume": [self.artifact(volume.artifact)],
                "source": [self.source(volume)],
            },
            params={"read": dict(volume.read), "version": model.version} | self.predict_params() | self.output_params(),
            priority=priority,
            spec=self.predict_spec(model),
            volume_id=volume.id,
        )

    def control(self, round_: int, labels: Sequence[tuple[str, str, str]]) -> Wanted:
        """After a round it ought to be known whether selection helps. labels: (artifact, role, arm)."""

        def those(role: str, *arms: str) -> list[int]:
            return [i for i, (_, r, arm) in enumerate(labels) if r == role and (not arms or arm in arms)]

        return Wanted(
            stage="control",
            subject=f"round:{round_}",
            inputs={"label": [self.artifact(key) for key, _, _ in labels]},
            params={
                "selected": those("train", "selected"),
                "control": those("train", "control"),
                "gate": those("gate"),
                "seed": self.settings.run.seed + round_,
            },
            priority=PRIORITY["control"],
            spec="",
        )
