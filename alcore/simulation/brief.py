"""The tables of a run as they fit a terminal of eighty columns: fewer columns, short headings, intervals of differences only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alcore.arrays.paired import Estimate, difference, estimate
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.table import Entry, Line, Style, Table
from alcore.simulation.tables import FIGURES, by_area, effort

PART = 0.9
"""Of the F1 with all labels: what labels and minutes are told for."""


def brief_strategies(curves: Curves, baselines: Sequence[str]) -> Table:
    """One line per arm: area under the F1 curve, paired differences to two baselines, labels and minutes."""
    lines = []
    for arm in by_area(curves, "f1"):
        areas = curves.areas(arm, "f1")
        entries = [_entry(curves, estimate(areas))]
        for baseline in baselines:
            other = Arm(baseline, arm.pretrained)
            apart = None if other == arm else estimate(difference(areas, curves.areas(other, "f1")))
            entries.append(None if apart is None else Entry(apart, "difference"))
        labels = (arm.strategy, "yes" if arm.pretrained else "no") if curves.starts else (arm.strategy,)
        lines.append(Line(labels, (*entries, *effort(curves, arm, PART, "f1"))))
    return Table(
        "strategies",
        f"Area under the F1 curve; labels and minutes for {100 * PART:.0f} % of the F1 with all",
        ("strategy", "pre") if curves.starts else ("strategy",),
        ("area", *(f"− {name}" for name in baselines), "labels", "minutes"),
        tuple(lines),
    )


def brief_scores(curves: Curves, arm: Arm) -> Table:
    """Tab. 1 of one arm: the scores, and F1 as a share of that with all labels, by number of labels."""
    lines = []
    for figure, words in FIGURES.items():
        values = [curves.mean(arm, share, figure) for share in curves.shares]
        lines.append(Line((words,), tuple(_entry(curves, value) for value in values)))
    of_all = [curves.of_all(arm, share, "f1") for share in curves.shares]
    lines.insert(1, Line(("F1, % of all",), tuple(_entry(curves, value, "rounded") for value in of_all)))
    n = curves.n_pool
    heads = [f"{100 * share:.3g} %" if n is None else f"{round(share * n)}" for share in curves.shares]
    return Table("scores", f"Scores by number of labels: {arm.title(curves.starts)}", ("",), tuple(heads), tuple(lines))


def _entry(curves: Curves, value: Estimate | None, style: Style = "score") -> Entry | None:
    return None if value is None else Entry(replace(value, low=None, high=None), style, len(curves.runs))
