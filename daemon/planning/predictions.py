"""Who is segmented next, by the promoted model; what its confidence is worth on held-out patches; advice when to stop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.advice import LearningCurve, advise
from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.levels import AHEAD, missing_anywhere, room
from daemon.policy import PRIORITY
from daemon.store.rows import ModelRow, Wanted
from daemon.store.store import Store

FIRST = 4
"""So many volumes that were there before a model are segmented by it before anything else is trained: rounds that follow each
other without a pause do not keep everybody from ever seeing a segmentation, and ten thousand volumes do not keep a round waiting."""


@dataclass(frozen=True)
class PredictionPlans:
    """From the promoted model to the segmentation of the volumes that `prediction.policy` names."""

    store: Store
    planner: Planner
    settings: Settings

    def wanted(self, now: float) -> Iterator[Wanted]:
        """Volumes that no model has segmented first, newest first; then those that another model has."""
        self._advise(now)
        promoted = self.store.learning.promoted()
        if promoted is None:
            return
        self._calibrate(promoted)
        spec = self.planner.predict_spec(promoted)
        policy = self.settings.prediction.policy
        wished = self.store.predictions.wished()
        if not missing_anywhere(self.store, "predict", spec):
            if wished:
                self.store.predictions.granted()
            return
        if policy != "manual" and self.store.predictions.n_volumes() < self.store.volumes.n_volumes():
            yield from self._unseen(promoted, spec)
        if policy == "always" or wished:
            free = room(self.store, "predict", spec)
            newest = None if policy == "always" else wished
            again = self.store.predictions.without(spec, "any", free, newest) if free else []
            for volume in again:
                yield self.planner.predict(volume, promoted, PRIORITY["repredict"])
            if wished and free and not again:
                self.store.predictions.granted()

    def _unseen(self, promoted: ModelRow, spec: str) -> Iterator[Wanted]:
        """Volumes that no model has segmented. Those that came since this one is in use go before training, and so do `FIRST` of
        the others; the rest, which may be the whole pool, goes after it."""
        ready, since = self.store.predictions.n_ready, self.store.predictions.newest_before_promotion()
        first = FIRST - self.store.jobs.n_volumes_with("predict", spec)
        old = AHEAD - ready(spec, PRIORITY["predict_old"])
        for volume in self.store.predictions.without(spec, "never", max(0, AHEAD - ready(spec, PRIORITY["predict"]))):
            if volume.id > since or first > 0:
                first -= volume.id <= since
                yield self.planner.predict(volume, promoted, PRIORITY["predict"])
            elif old > 0:
                old -= 1
                yield self.planner.predict(volume, promoted, PRIORITY["predict_old"])

    def _calibrate(self, model: ModelRow) -> None:
        """Write down how sure the model is of the held-out patches that it was scored on."""
        for label in self.store.predictions.uncalibrated(model.version):
            import numpy as np  # not before there is something to read: it takes 20 MB

            path = self.planner.artifact(label.artifact).path / "patches.npz"
            unsure = math.nan
            if path.is_file():
                with np.load(path) as arrays:
                    unsure = float(arrays["entropy_fg"][label.row])
            confidence = None if math.isnan(unsure) else min(1.0, max(0.0, 1 - unsure))
            self.store.predictions.calibrate(model.version, label.label_id, confidence)

    def _advise(self, now: float) -> None:
        """After every round, once: what would more labels bring?"""
        number = self.store.predictions.round_without_advice()
        if number is None:
            return
        patches = self.settings.selection.queue_depth
        rounds = [LearningCurve(*found) for found in self.store.predictions.learning_curve()]
        advice = advise(rounds, patches)
        self.store.predictions.add_advice(number, patches, advice.words, advice.figures, now)
        self.store.state.event("advice", advice.words, now)
