"""What ought to be made for the report: the latent map, pictures of held-out patches, and the page itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alcore.stage import Input
from daemon.planner.learning import LearningRecipes
from daemon.policy import PRIORITY
from daemon.store.rows import Wanted


@dataclass(frozen=True)
class MapVolume:
    """A volume on the map. embedding: key of the vectors of its patches; artifact: its own. source: where it can be read now, if it
    can; content: see `alcore.fileset.Fingerprint`."""

    id: int
    name: str
    embedding: str
    artifact: str
    read: Mapping[str, Any]
    source: Input | None
    content: str


@dataclass(frozen=True)
class GatePatches:
    """Held-out patches that are shown: names for people, and artifacts of the labels. model: that segments them."""

    version: str
    artifact: str
    names: tuple[str, ...]
    labels: tuple[str, ...]


class ReportRecipes(LearningRecipes):
    """All three are asked for by the daemon after a round, and made by `alscope report` itself."""

    def map_spec(self, encoder: str) -> str:
        """Name of mapping with one encoder (key of its artifact)."""
        return self.spec("latent_map", encoder)

    def latent_map(self, subject: str, encoder: str, volumes: Sequence[MapVolume], before: Input | None) -> Wanted:
        """Every embedded patch ought to have a place. before: an earlier map of the same encoder."""
        return Wanted(
            stage="latent_map",
            subject=subject,
            inputs={
                "embedding": [self.artifact(v.embedding) for v in volumes],
                "volume": [self.artifact(v.artifact) for v in volumes],
                "before": [before] if before else [],
            },
            params={"seed": self.settings.run.seed, "encoder": encoder},
            priority=PRIORITY["latent_map"],
            spec=self.map_spec(encoder),
        )

    def gate_pictures(self, subject: str, gate: GatePatches) -> Wanted:
        """What the model in use makes of held-out patches ought to be seen."""
        return Wanted(
            stage="gate_pictures",
            subject=subject,
            inputs={
                "model": [self.artifact(gate.artifact)],
                "label": [self.artifact(key) for key in gate.labels],
            },
            params={"names": list(gate.names), "version": gate.version} | self.predict_params(),
            priority=PRIORITY["gate_pictures"],
            spec="",
        )

    def report(self, subject: str, inputs: Mapping[str, list[Input]], params: Mapping[str, Any]) -> Wanted:
        """The page ought to be written; what it says is in params (see `daemon.reporting.gather`)."""
        return Wanted(
            stage="report",
            subject=subject,
            inputs=inputs,
            params=params,
            priority=PRIORITY["report"],
            spec="",
        )
