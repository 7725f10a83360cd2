"""What ought to exist minus what exists: pure functions from levels to wanted jobs. No I/O, no clock."""

from __future__ import annotations

from daemon.planner.annotation import AnnotationRecipes
from daemon.planner.learning import PSEUDO_LABELS
from daemon.planner.pool import PoolRecipes
from daemon.planner.repeats import RepeatRecipes
from daemon.planner.report import ReportRecipes
from daemon.planner.selection import SelectionRecipes
from daemon.planner.truth import TruthRecipes

__all__ = ["PSEUDO_LABELS", "Planner"]


class Planner(PoolRecipes, SelectionRecipes, AnnotationRecipes, RepeatRecipes, TruthRecipes, ReportRecipes):
    """Every method answers one question about what to do next."""
