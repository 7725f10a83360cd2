"""Which masks of whole volumes are to be cut into labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.config import Settings
from daemon.planner import Planner
from daemon.store.rows import Wanted
from daemon.store.store import Store


@dataclass(frozen=True)
class TruthPlans:
    """From the request to the labels."""

    store: Store
    planner: Planner
    settings: Settings

    def wanted(self) -> Iterator[Wanted]:
        """Every mask that was asked for and not cut yet, when pseudo-labels of its volume are there or will never be."""
        spec = self.planner.pseudo_spec()
        for truth in self.store.truth.reading():
            volume = self.store.volumes.get(truth.volume_id)
            state, key = self.store.jobs.of_volume("pseudo", spec, truth.volume_id)
            if volume is not None and state in ("done", "failed", "cancelled"):
                patches = self.store.volumes.patches(truth.volume_id)
                yield self.planner.truth(truth, volume, patches, key if state == "done" else None)
