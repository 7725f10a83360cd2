"""Reads the levels from the store, asks the planner, and takes the decisions that are not jobs: rounds, encoders, verdicts."""

from __future__ import annotations

from collections.abc import Iterator

from alcore.run import key_of
from daemon.config import Settings
from daemon.planner import Planner
from daemon.planning.annotation import AnnotationPlans
from daemon.planning.learning import LearningPlans
from daemon.planning.mixture import Mixture
from daemon.planning.pool import PoolPlans
from daemon.planning.predictions import PredictionPlans
from daemon.planning.pseudo import PseudoPlans
from daemon.planning.repeats import RepeatPlans
from daemon.planning.report import ReportPlans
from daemon.planning.selection import SelectionPlans
from daemon.planning.training import TrainingPlans
from daemon.planning.truth import TruthPlans
from daemon.store.rows import Wanted
from daemon.store.store import Store


class Planning:
    """What ought to exist and does not. Asked at every tick; cheap when nothing has changed."""

    def __init__(self, store: Store, planner: Planner, settings: Settings) -> None:
        self.planner = planner
        self.pool = PoolPlans(store, planner, settings, PseudoPlans(store, settings))
        self.selection = SelectionPlans(store, planner, settings)
        self.annotation = AnnotationPlans(store, planner, settings)
        self.repeats = RepeatPlans(store, planner, settings)
        self.truth = TruthPlans(store, planner, settings)
        self.training = TrainingPlans(store, planner, settings)
        self.mixture = Mixture(store, self.training)
        self.predictions = PredictionPlans(store, planner, settings)
        self.learning = LearningPlans(store, planner, settings, self.training)
        self.report = ReportPlans(store, planner)

    def wanted(self, now: float) -> Iterator[Wanted]:
        """Every job that ought to exist now (some may exist already: the store knows recipes)."""
        yield from self.first(now)
        yield from self.then(now)

    def first(self, now: float) -> Iterator[Wanted]:
        """From an acquisition to what lies before the expert, and what came back."""
        yield from self.pool.volumes(now)
        yield from self.pool.encoders(now)
        yield from self.pool.embeddings(now)
        yield from self.selection.suggestions(now)
        self.repeats.ask_again(now)
        yield from self.selection.packages(now)
        yield from self.selection.labels()
        yield from self.truth.wanted()
        yield from self.annotation.embeddings()

    def then(self, now: float) -> Iterator[Wanted]:
        """What is learned from it, and what is told."""
        yield from self.pool.novelty()
        yield from self.repeats.agreements()
        yield from self.training.pretraining_again(now)
        yield from self.training.pretraining()
        self.mixture.tell(now)
        yield from self.learning.round(now)
        yield from self.predictions.wanted(now)
        yield from self.learning.control()
        yield from self.report.wanted(now)

    def key(self, wanted: Wanted) -> str:
        """The recipe key of a wanted job."""
        return key_of(wanted.stage, wanted.inputs, wanted.params)
