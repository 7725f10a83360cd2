"""What ought to be known of every volume: its reading, pseudo-labels, traits, encoder, embedding and novelty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from alcore.pages import STAGE as PAGE
from alcore.pages import paged
from alcore.stage import Input
from daemon.planner.base import Recipes
from daemon.policy import PRIORITY, digest, encoder_params
from daemon.store.kept import subject
from daemon.store.rows import EncoderRow, Labeler, SourceRow, VolumeRow, Wanted, path_of


class PoolRecipes(Recipes):
    """From the acquisition to the unit vectors of its patches."""

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
        """Name of the pseudo-labelling that config.toml asks for; "auto" is one, whatever it chooses (decision 0008)."""
        pseudo = self.settings.pseudo
        options = pseudo.options if pseudo.backend == "auto" else pseudo.options_of(pseudo.backend)
        return self.spec("pseudo", pseudo.backend, options)

    def pseudo(self, volume: VolumeRow, by: Labeler) -> Wanted:
        """A volume ought to have pseudo-labels. Those of a model take as long as its predictions, and wait in the same lane."""
        inputs = {"volume": [self.artifact(volume.artifact)], "source": [self.source(volume)]}
        if by.model:
            inputs["model"] = [self.artifact(by.model)]
        return Wanted(
            stage="pseudo",
            subject=f"volume:{volume.id}",
            inputs=inputs,
            params={"read": dict(volume.read), "backend": by.backend, "options": dict(by.options)},
            priority=PRIORITY["pseudo"],
            spec=self.pseudo_spec(),
            volume_id=volume.id,
            long=True if by.model else None,
        )

    def traits_spec(self, with_pseudo: bool) -> str:
        """Name of measuring the patches of a volume; without pseudo-labels where there are none."""
        return self.spec("traits", self.pseudo_spec(), with_pseudo)

    def traits(self, volume: VolumeRow, pseudo: str | None) -> Wanted:
        """It ought to be known what every patch of a volume holds. pseudo: key of its pseudo-labels, if there are any."""
        return Wanted(
            stage="traits",
            subject=f"volume:{volume.id}",
            inputs={
                "volume": [self.artifact(volume.artifact)],
                "source": [self.source(volume)],
                "pseudo": [self.artifact(pseudo)] if pseudo else [],
            },
            params={"read": dict(volume.read)},
            priority=PRIORITY["traits"],
            spec=self.traits_spec(pseudo is not None),
            volume_id=volume.id,
        )

    def encoder(self, kind: str, volumes: Sequence[VolumeRow]) -> Wanted:
        """The pool ought to have an encoder made of itself; one that needs no training does not wait behind training."""
        n_patches = sum(v.n_patches for v in volumes)
        return Wanted(
            stage="encoder",
            subject=f"pool:{n_patches}",
            inputs={
                "volume": [self.artifact(v.artifact) for v in volumes],
                "source": [self.source(v) for v in volumes],
            },
            params=encoder_params(self.settings.encoder, kind, self.device, self.settings.run.seed)
            | {"read": [dict(v.read) for v in volumes]},
            priority=PRIORITY[kind],
            spec=self.encoder_spec(kind, len(volumes), n_patches, sum(v.id for v in volumes)),
            long=kind == "mae",
        )

    def encoder_design(self, kind: str) -> str:
        """Name of how config.toml wants an encoder of this kind to be made, on whatever pool."""
        return digest(encoder_params(self.settings.encoder, kind, self.device, self.settings.run.seed))

    def encoder_spec(self, kind: str, n_volumes: int, n_patches: int, sum_of_ids: int) -> str:
        """Name of making an encoder on such a pool: known before ten thousand volumes are listed."""
        return self.spec("encoder", self.encoder_design(kind), n_volumes, n_patches, sum_of_ids)

    def embedding_spec(self, encoder: EncoderRow) -> str:
        """Name of embedding with one encoder."""
        return self.spec("embedding", encoder.artifact)

    def embedding(self, volume: VolumeRow, encoder: EncoderRow) -> Wanted:
        """A volume ought to be embedded by every encoder that serves or is about to."""
        return Wanted(
            stage="embedding",
            subject=f"volume:{volume.id}",
            inputs={
                "encoder": [self.artifact(encoder.artifact)],
                "volume": [self.artifact(volume.artifact)],
                "source": [self.source(volume)],
            },
            params={"read": dict(volume.read)},
            priority=PRIORITY["embedding"],
            spec=self.embedding_spec(encoder),
            volume_id=volume.id,
        )

    def kept_spec(self, encoder: EncoderRow) -> str:
        """Name of embedding with one encoder what was kept of volumes that cannot be read."""
        return self.spec("kept_embedding", encoder.artifact)

    def kept_embedding(self, volume_id: int, artifact: str, images: Mapping[int, str], encoder: EncoderRow) -> Wanted:
        """What people were shown of a volume that cannot be read ought to be embedded as well. artifact: of the volume. images:
        patch row -> artifact with its image."""
        return Wanted(
            stage="kept_embedding",
            subject=subject(volume_id),
            inputs={
                "encoder": [self.artifact(encoder.artifact)],
                "volume": [self.artifact(artifact)],
                "image": [self.artifact(key) for key in images.values()],
            },
            params={"rows": list(images)},
            priority=PRIORITY["embedding"],
            spec=self.kept_spec(encoder),
        )

    def novelty(self, encoder: EncoderRow, embeddings: Mapping[int, str], new: Sequence[int]) -> Wanted:
        """It ought to be known how new these volumes were to everything before them. embeddings: key by volume id."""
        pages = paged([(volume, {"embedding": key}) for volume, key in sorted(embeddings.items())])
        return Wanted(
            stage="novelty",
            subject=f"novelty:{encoder.id}:{len(new)}",
            inputs={PAGE: [self.artifact(key) for key in pages]},
            params={"new": [embeddings[volume] for volume in new]},
            priority=PRIORITY["novelty"],
            spec=self.novelty_spec(encoder, len(embeddings), new),
            pages=pages,
        )

    def novelty_spec(self, encoder: EncoderRow, n_embedded: int, new: Sequence[int]) -> str:
        """Name of measuring it for these volumes among so many."""
        return self.spec("novelty", encoder.id, n_embedded, list(new))
