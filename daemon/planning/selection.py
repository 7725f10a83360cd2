"""What the expert's queue lacks: suggestions, their folders, and checks of the labels that came in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.config import Settings
from daemon.planner import Planner
from daemon.policy import suggestions_to_ask
from daemon.store.rows import EncoderRow, Wanted
from daemon.store.selection import Levels
from daemon.store.store import Store

PATIENCE_S = 120.0
"""So long after a volume was embedded it waits for its traits before it is chosen from without them: pseudo-labels of a very
large volume take their time, and people want to begin."""


@dataclass(frozen=True)
class SelectionPlans:
    """From the embedded pool to the label that an expert drew."""

    store: Store
    planner: Planner
    settings: Settings

    def suggestions(self, now: float) -> Iterator[Wanted]:
        """More patches once half of the queue has been answered, and what came in was checked: labels that count are known."""
        current = self.store.encoders.in_use().get("current")
        if current is None or self.store.jobs.active("suggestions") or self.store.annotation.n_under_check():
            return
        waiting, depth = self.store.annotation.n_waiting_for_expert(), self.settings.selection.queue_depth
        if not suggestions_to_ask(waiting, depth, depth):
            return
        levels, selection = self._levels(current, now), self.store.selection
        size = selection.size(levels)
        ask = suggestions_to_ask(waiting, depth, size.patches - size.covered)
        spec = self.planner.suggestions_spec(levels.embedding, size, ask)
        if ask <= 0 or self.store.jobs.known("suggestions", spec):
            return
        promoted = self.store.learning.promoted()
        yield self.planner.suggestions(
            selection.pool(levels),
            selection.covered(),
            selection.labelled(),
            ask,
            selection.n_made(),
            promoted.n_labels if promoted else 0,
            spec,
        )

    def _levels(self, current: EncoderRow, now: float) -> Levels:
        promoted = self.store.learning.promoted()
        return Levels(
            embedding=self.planner.embedding_spec(current),
            traits=self.planner.traits_spec(True),
            bare=self.planner.traits_spec(False),
            predict=self.planner.predict_spec(promoted) if promoted else "",
            before=now - PATIENCE_S,
        )

    def packages(self) -> Iterator[Wanted]:
        """A folder for every suggestion, when pseudo-labels of its volume are there or will never be."""
        spec = self.planner.pseudo_spec()
        for suggestion in self.store.annotation.unpackaged():
            volume = self.store.volumes.get(suggestion.patch.volume_id)
            state, key = self.store.jobs.of_volume("pseudo", spec, suggestion.patch.volume_id)
            if volume is not None and state in ("done", "failed", "cancelled"):
                neighbours = self.store.annotation.neighbours(suggestion.id)
                yield self.planner.package(suggestion, volume, key if state == "done" else None, neighbours)

    def labels(self) -> Iterator[Wanted]:
        """Every label file that was taken from the inbox ought to be checked."""
        for received in self.store.labels.received("state = 'checking' AND filed = 1"):
            artifact = self.store.volumes.artifact(received.suggestion.patch.volume_id)
            yield self.planner.label(received, artifact)
