"""What ought to exist minus what exists: pure functions from levels to wanted jobs. No I/O, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alcore.run import stage
from alcore.stage import Input
from daemon.config import Settings
from daemon.policy import PRIORITY, digest, encoder_params, plan_name, schedule
from daemon.store.rows import (
    EncoderRow,
    LabelRow,
    ModelRow,
    PatchRow,
    ReceivedRow,
    RoundRow,
    SourceRow,
    SuggestionRow,
    VolumeRow,
    Wanted,
    path_of,
)

T = TypeVar("T")
PSEUDO_LABELS = "pseudo-labels"
"""Stands for a model's name where the pseudo-labels themselves are scored."""


@dataclass(frozen=True)
class Planner:
    """Settings and machine, fixed while the daemon runs; every method answers one question about what to do next."""

    settings: Settings
    device: str
    artifact_path: Callable[[str], Path]
    workspace: Path

    # building blocks

    def _artifact(self, key: str) -> Input:
        artifact, _, folder = key.partition("/")
        return Input(self.artifact_path(artifact) / folder, key)

    @staticmethod
    def source(volume: VolumeRow) -> Input:
        """The acquisition that a volume is read from, where it lies now."""
        return Input(path_of(volume.path), f"sha256:{volume.sha256}", volume.content, volume.members)

    def spec(self, name: str, *parts: Any) -> str:
        """Short name of what a stage would do, apart from the volume it does it to."""
        return digest(name, stage(name).version, *parts)

    # volumes

    def volume(self, source: SourceRow, backlog: bool = False) -> Wanted:
        """A settled acquisition ought to be read; backlog: it is one of very many, and others can learn meanwhile."""
        watch = self.settings.watch[min(source.watch, len(self.settings.watch) - 1)]
        params = {
            "read": watch.read_options(),
            "voxel_um": list(watch.voxel_um) if watch.voxel_um else None,
            "patch": {"shape_px": list(self.settings.patch.shape_px)},
            "fingerprint": json.loads(source.fingerprint),
            "limit_gb": self.settings.run.max_volume_gb,
        }
        return Wanted(
            stage="volume",
            subject=f"source:{source.id}:{digest(source.fingerprint)}",
            inputs={
                "source": [Input(path_of(source.path), f"file:{digest(source.fingerprint)}", members=source.members)]
            },
            params=params,
            priority=PRIORITY["backlog" if backlog else "volume"],
            spec="",
        )

    def pseudo_spec(self) -> str:
        """Name of the pseudo-labelling that config.toml asks for."""
        return self.spec("pseudo", self.settings.pseudo.backend, self.settings.pseudo.options)

    def pseudo(self, volume: VolumeRow) -> Wanted:
        """A volume ought to have pseudo-labels."""
        return Wanted(
            stage="pseudo",
            subject=f"volume:{volume.id}",
            inputs={"volume": [self._artifact(volume.artifact)], "source": [self.source(volume)]},
            params={
                "read": dict(volume.read),
                "backend": self.settings.pseudo.backend,
                "options": self.settings.pseudo.options,
            },
            priority=PRIORITY["pseudo"],
            spec=self.pseudo_spec(),
            volume_id=volume.id,
        )

    def encoder(self, volumes: Sequence[VolumeRow]) -> Wanted:
        """The pool ought to have an encoder trained on itself."""
        params = encoder_params(self.settings.encoder, self.device, self.settings.run.seed)
        n_patches = sum(v.n_patches for v in volumes)
        return Wanted(
            stage="encoder",
            subject=f"pool:{n_patches}",
            inputs={
                "volume": [self._artifact(v.artifact) for v in volumes],
                "source": [self.source(v) for v in volumes],
            },
            params=params | {"read": [dict(v.read) for v in volumes]},
            priority=PRIORITY["encoder"],
            spec=self.encoder_spec(len(volumes), n_patches, sum(v.id for v in volumes)),
        )

    def encoder_spec(self, n_volumes: int, n_patches: int, sum_of_ids: int) -> str:
        """Name of training an encoder as config.toml says on such a pool: known before ten thousand volumes are listed."""
        params = encoder_params(self.settings.encoder, self.device, self.settings.run.seed)
        return self.spec("encoder", params, n_volumes, n_patches, sum_of_ids)

    def embedding_spec(self, encoder: EncoderRow) -> str:
        """Name of embedding with one encoder."""
        return self.spec("embedding", encoder.artifact)

    def embedding(self, volume: VolumeRow, encoder: EncoderRow) -> Wanted:
        """A volume ought to be embedded by every encoder that serves or is about to."""
        return Wanted(
            stage="embedding",
            subject=f"volume:{volume.id}",
            inputs={
                "encoder": [self._artifact(encoder.artifact)],
                "volume": [self._artifact(volume.artifact)],
                "source": [self.source(volume)],
            },
            params={"read": dict(volume.read)},
            priority=PRIORITY["embedding"],
            spec=self.embedding_spec(encoder),
            volume_id=volume.id,
        )

    # suggestions

    def suggestions(
        self, embeddings: Mapping[int, str], covered: Mapping[int, Sequence[int]], n: int, embedding: str
    ) -> Wanted:
        """The queue ought to be full: `n` more patches, farthest from everything labelled, queued or skipped.

        embeddings, covered: by volume id. embedding: the spec of these embeddings.
        """
        by_key = {embeddings[v]: list(rows) for v, rows in covered.items() if v in embeddings}
        keys = [embeddings[v] for v in sorted(embeddings)]
        n_covered = sum(len(rows) for rows in by_key.values())
        return Wanted(
            stage="suggestions",
            subject=f"pool:{len(keys)}:{n_covered}",
            inputs={"embedding": [self._artifact(k) for k in keys]},
            params={
                "covered": by_key,
                "n": n,
                "initial": self.settings.selection.initial_seeds,
                "seed": self.settings.run.seed,
            },
            priority=PRIORITY["suggestions"],
            spec=self.suggestions_spec(embedding, len(keys), n_covered, n),
        )

    def suggestions_spec(self, embedding: str, n_volumes: int, n_covered: int, n: int) -> str:
        """Name of choosing `n` patches from so many volumes with so many covered patches: both only ever grow."""
        return self.spec(
            "suggestions",
            embedding,
            n_volumes,
            n_covered,
            n,
            self.settings.selection.initial_seeds,
            self.settings.run.seed,
        )

    def package(self, suggestion: SuggestionRow, volume: VolumeRow, pseudo: str | None) -> Wanted:
        """A suggestion ought to have a folder with everything that the expert needs."""
        return Wanted(
            stage="package",
            subject=f"suggestion:{suggestion.id}",
            inputs={
                "volume": [self._artifact(volume.artifact)],
                "source": [self.source(volume)],
                "pseudo": [self._artifact(pseudo)] if pseudo else [],
            },
            params={
                "read": dict(volume.read),
                "box": suggestion.patch.box.to_json(),
                "suggestion": {
                    "id": suggestion.id,
                    "rank": suggestion.rank,
                    "distance": suggestion.distance,
                    "reason": suggestion.reason,
                    "volume_name": volume.name,
                },
            },
            priority=PRIORITY["package"],
            spec="",
            volume_id=volume.id,
        )

    def label(self, received: ReceivedRow, volume_artifact: str) -> Wanted:
        """A label file that somebody saved ought to be checked."""
        package = received.suggestion.package
        return Wanted(
            stage="label",
            subject=f"received:{received.id}",
            inputs={
                "file": [Input(self.workspace / received.file, f"sha256:{received.sha256}")],
                "package": [self._artifact(package)] if package else [],
                "volume": [self._artifact(volume_artifact)],
            },
            params={
                "suggestion": received.suggestion.id,
                "box": received.suggestion.patch.box.to_json(),
                "confirm_empty": received.confirm_empty,
                "received": received.id,
            },
            priority=PRIORITY["label"],
            spec="",
        )

    # learning

    def pretrain(
        self, volumes: Sequence[tuple[VolumeRow, str]], patches: Sequence[PatchRow], of_volumes: int
    ) -> Wanted:
        """Enough pseudo-labels exist: M_p ought to. volumes: each with the key of its pseudo-labels; of_volumes: from how
        many they were chosen."""
        plan = plan_name(self.settings, self.device)
        return Wanted(
            stage="pretrain",
            subject=f"pretrain:{of_volumes}",
            inputs=self._voxels(volumes),
            params={
                "plan": plan,
                "schedule": schedule(self.settings.training.pretrain_schedule, plan, "pretrain"),
                "seed": self.settings.run.seed,
            }
            | self._patches(volumes, patches),
            priority=PRIORITY["pretrain"],
            spec="",
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
                "model": [self._artifact(start.artifact)] if start else [],
                "label": [self._artifact(label.artifact) for label in round_.train],
            }
            | self._voxels(mix),
            params={
                "plan": plan,
                "schedule": schedule(self.settings.training.finetune_schedule, plan, "finetune"),
                "mix_share": self.settings.training.mix_share if mix_patches else 0.0,
                "seed": self.settings.run.seed + round_.number,
            }
            | self._patches(mix, mix_patches),
            priority=PRIORITY["finetune"],
            spec="",
        )

    def _voxels(self, volumes: Sequence[tuple[VolumeRow, str]]) -> dict[str, list[Input]]:
        return {
            "volume": [self._artifact(v.artifact) for v, _ in volumes],
            "source": [self.source(v) for v, _ in volumes],
            "pseudo": [self._artifact(key) for _, key in volumes],
        }

    @staticmethod
    def _patches(volumes: Sequence[tuple[VolumeRow, str]], patches: Sequence[PatchRow]) -> dict[str, Any]:
        index = {v.id: i for i, (v, _) in enumerate(volumes)}
        return {
            "read": [dict(v.read) for v, _ in volumes],
            "patches": [{"volume": index[p.volume_id], **p.box.to_json()} for p in patches],
        }

    def evaluate(self, model: ModelRow | None, gate: Sequence[LabelRow]) -> Wanted:
        """A model (None: the pseudo-labels) ought to be scored on a frozen set of held-out labels."""
        name = model.version if model else PSEUDO_LABELS
        return Wanted(
            stage="evaluate",
            subject=f"evaluate:{name}",
            inputs={
                "model": [self._artifact(model.artifact)] if model else [],
                "label": [self._artifact(label.artifact) for label in gate],
            },
            params={"iou": 0.5} | self.predict_params(),
            priority=PRIORITY["evaluate"],
            spec="",
        )

    def predict_spec(self, model: ModelRow) -> str:
        """Name of segmenting with one model."""
        return self.spec("predict", model.artifact, self.predict_params())

    def predict_params(self) -> dict[str, Any]:
        """How predictions become instances, as config.toml says."""
        return {"min_voxels": self.settings.prediction.min_object_voxels or None}

    def predict(self, volume: VolumeRow, model: ModelRow) -> Wanted:
        """The promoted model ought to have segmented every volume."""
        return Wanted(
            stage="predict",
            subject=f"volume:{volume.id}",
            inputs={
                "model": [self._artifact(model.artifact)],
                "volume": [self._artifact(volume.artifact)],
                "source": [self.source(volume)],
            },
            params={"read": dict(volume.read), "version": model.version} | self.predict_params(),
            priority=PRIORITY["predict"],
            spec=self.predict_spec(model),
            volume_id=volume.id,
        )


def choose_evenly(places: Sequence[T], most: int) -> list[T]:
    """At most `most` of these, spread evenly over the sequence."""
    if len(places) <= most:
        return list(places)
    return [places[i * len(places) // most] for i in range(most)]
