"""What the expert's queue lacks: suggestions, their folders, and checks of the labels that came in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alcore.run import key_of
from daemon.config import Settings
from daemon.effort import Effort
from daemon.planner import Planner
from daemon.planner.selection import Said
from daemon.policy import suggestions_to_ask
from daemon.store.rows import EncoderRow, JobRow, Wanted
from daemon.store.selection import Levels
from daemon.store.store import Store
from daemon.verdict import gated

PATIENCE_S = 120.0
"""So long after a volume was embedded it waits for its traits before it is chosen from without them: pseudo-labels of a very
large volume take their time, and people want to begin."""

AVOIDED = ("artefact", "out of focus")
"""Patches like one that was skipped for these reasons are held back."""
EMPTY = "nothing here"
"""Patches like one that was skipped for this reason count as holding less."""


@dataclass(frozen=True)
class SelectionPlans:
    """From the embedded pool to the label that an expert drew."""

    store: Store
    planner: Planner
    settings: Settings

    def suggestions(self, now: float) -> Iterator[Wanted]:
        """More patches once half of the queue has been answered, and what came in was checked: labels that count are known.
        Otherwise those that wait are looked at again, once for every level of the pool. Either way all that nobody has begun
        is put in order anew."""
        current = self.store.encoders.in_use().get("current")
        if current is None or self.store.jobs.active("suggestions") or self.store.annotation.n_under_check():
            return
        waiting, depth = self.store.annotation.n_waiting_for_expert(), self.settings.selection.queue_depth
        levels = self._levels(current, now)
        if suggestions_to_ask(waiting, depth, depth):
            size = self.store.selection.size(levels)
            ask = suggestions_to_ask(waiting, depth, size.patches - size.covered)
            spec = self.planner.suggestions_spec(levels.embedding, size, ask)
            if ask > 0 and not self.store.jobs.known("suggestions", spec):
                yield self._wanted(levels, ask, spec, {})
                return
        yield from self._compared(levels)

    def _compared(self, levels: Levels) -> Iterator[Wanted]:
        """The waiting suggestions that were not compared with the pool as it is, once nothing is being embedded."""
        level = self._level(levels)
        waiting = self.store.selection.waiting(level)
        if not waiting or self.store.jobs.active_with_spec("embedding", levels.embedding):
            return
        n = sum(len(rows) for rows in waiting.values())
        spec = self.planner.spec("suggestions", "waiting", level, sorted((v, *rows) for v, rows in waiting.items()))
        if not self.store.jobs.known("suggestions", spec):
            yield self._wanted(levels, n, spec, waiting)

    def _wanted(self, levels: Levels, n: int, spec: str, waiting: Mapping[int, Sequence[int]]) -> Wanted:
        selection, promoted = self.store.selection, self.store.learning.promoted()
        configured = Effort(self.settings.selection.minutes_base, self.settings.selection.minutes_per_object)
        said = Said(
            effort=self.store.effort(configured),
            avoid=selection.skipped(*AVOIDED),
            nothing=selection.skipped(EMPTY),
            held=selection.held(),
            level=self._level(levels),
            waiting=waiting,
            queue=selection.queue(),
        )
        return self.planner.suggestions(
            selection.pool(levels),
            selection.covered(),
            selection.labelled(),
            n,
            selection.n_made(),
            promoted.n_labels if promoted and gated(promoted.ruling) else 0,
            spec,
            said,
        )

    def _level(self, levels: Levels) -> str:
        n_embedded, selection = self.store.jobs.n_done("embedding", levels.embedding), self.store.selection
        return self.planner.level(
            levels.embedding, levels.predict, n_embedded, selection.n_answered(), selection.n_skipped(*AVOIDED)
        )

    def _levels(self, current: EncoderRow, now: float) -> Levels:
        promoted = self.store.learning.promoted()
        return Levels(
            embedding=self.planner.embedding_spec(current),
            kept=self.planner.kept_spec(current),
            traits=self.planner.traits_spec(True),
            bare=self.planner.traits_spec(False),
            predict=self.planner.predict_spec(promoted) if promoted else "",
            before=now - PATIENCE_S,
        )

    def packages(self, now: float) -> Iterator[Wanted]:
        """A folder for every suggestion, when pseudo-labels of its volume are there or will never be. One whose file has gone
        before its folder was made can never be opened: it is taken back, and makes room for another."""
        spec = self.planner.pseudo_spec()
        for suggestion in self.store.annotation.unpackaged():
            volume = self.store.volumes.get(suggestion.patch.volume_id)
            if volume is None and suggestion.state == "open" and suggestion.repeat_of is None:
                why = "its file cannot be read now, and its folder was not made yet"
                with self.store.transaction():
                    self.store.jobs.unmake(suggestion.id, why, now)
                    self.store.annotation.take_back(suggestion.id, why, now)
                    self.store.state.event("queue", f"{suggestion.id} is taken out of the queue: {why}", now)
                continue
            state, key = self.store.jobs.of_volume("pseudo", spec, suggestion.patch.volume_id)
            if volume is not None and state in ("done", "failed", "cancelled"):
                neighbours = self.store.annotation.neighbours(suggestion.id)
                wanted = self.planner.package(suggestion, volume, key if state == "done" else None, neighbours)
                made = self.store.jobs.by_key(key_of(wanted.stage, wanted.inputs, wanted.params))
                if made is not None and made.state == "done":  # taken back, and suggested again for the same reason
                    self.store.annotation.packaged(suggestion.id, made.key)
                else:
                    yield wanted

    def labels(self) -> Iterator[Wanted]:
        """Every label file that was taken from the inbox ought to be checked."""
        for received in self.store.labels.received("state = 'checking' AND filed = 1"):
            artifact = self.store.volumes.artifact(received.suggestion.patch.volume_id)
            package = received.suggestion.package or self.store.labels.artifact_of(received.id)  # else it was imported
            yield self.planner.label(received, artifact, package)

    def outdated_labels(self) -> list[JobRow]:
        """Checks that have not begun and are not the ones that ought to be: alscope was upgraded, or config.toml changed."""
        wanted = {key_of(w.stage, w.inputs, w.params) for w in self.labels()}
        return [job for job in self.store.jobs.not_done("label") if job.state != "failed" and job.key not in wanted]
