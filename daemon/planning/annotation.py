"""What the annotation window lacks: the look of Segment Anything at the patches that wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alcore.annotate.order import Weights
from alcore.annotate.weights import find_weights
from alcore.errors import PermanentError
from alcore.weights.places import digest
from daemon.config import Settings
from daemon.planner import Planner
from daemon.pseudo_choice import weights_folder
from daemon.store.rows import JobRow, Wanted
from daemon.store.store import Store

STAGE = "sam_embedding"


@dataclass
class AnnotationPlans:
    """Weights are looked for until they are there: those that are may lie among many on a slow disk."""

    store: Store
    planner: Planner
    settings: Settings
    _weights: Weights | None = field(default=None, init=False)

    def embeddings(self) -> Iterator[Wanted]:
        """One job for every patch that waits and has a folder, the next one first."""
        waiting = self.store.annotating.waiting() if self._wished() else []
        weights = self._found() if waiting else None
        if weights is None:
            return
        for suggestion_id, package in waiting:
            if not self.store.jobs.known(STAGE, self.planner.sam_embedding_spec(package, weights)):
                yield self.planner.sam_embedding(suggestion_id, package, weights)

    def outdated(self) -> list[JobRow]:
        """Jobs that have not begun, on patches that were answered or skipped in the meantime."""
        unbegun = self.store.jobs.outdated(STAGE, "")
        waiting = {package for _, package in self.store.annotating.waiting()} if unbegun else set()
        return [job for job in unbegun if job.inputs["package"][0].key not in waiting]

    def _wished(self) -> bool:
        precompute = self.settings.annotation.precompute
        return self.planner.device == "cuda" if precompute == "auto" else precompute

    def _found(self) -> Weights | None:
        if self._weights is None:
            self._weights, _ = find_weights(self.settings.annotation.model, weights_folder(self.settings.pseudo))
        try:
            if self._weights is not None:
                digest(Path(self._weights.files[0]))  # they may have been deleted
        except PermanentError:
            self._weights = None  # `alscope doctor` says why
        return self._weights
