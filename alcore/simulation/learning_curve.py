"""The learning curve (Fig. 3 of the paper): score against the share of the labels, and how far each strategy is from random."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from alcore.arrays.paired import Estimate, difference, estimate
from alcore.simulation import drawing, paper
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.tables import by_area

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE = 2.0
"""Doublings to the left of the fewest labels at which "none" stands on an axis that has no zero."""
NUDGE = 0.05
"""Doublings between the markers of two strategies at the same number of labels, so that their intervals can be told apart."""


def draw(curves: Curves, default: str, baseline: str, figure: str, words: str) -> Figure:
    """Left: mean scores over regions and seeds, with 95 % intervals of the seeds. Right: paired differences to `baseline`.

    The default strategy, the core-set, random and the oracle are thick, with intervals; the others are thin lines. Dashed: from
    scratch, where both were played. A diamond: what the paper's core-set reaches, as a share of our score with all labels.
    """
    arms = by_area(curves, figure)
    colour = drawing.colours(sorted({arm.strategy for arm in arms}), default)
    with drawing.style():
        made = drawing.new_figure(10.0, 4.6)
        left, right = made.subplots(1, 2, width_ratios=(1.15, 1))
        for arm in reversed(arms):
            _curve(left, curves, arm, figure, colour[arm.strategy], arm.strategy in (default, *drawing.MARKED))
        _reference(left, curves, Arm(default, max((a.pretrained for a in arms), default=0)), figure, words)
        _differences(right, curves, arms, baseline, figure, colour, default)
        left.set_title(f"{words} on the test regions")
        left.set_ylabel(words)
        right.set_title(f"{words} minus that of {baseline}, paired")
        for axis in (left, right):
            axis.set_xlabel("labelled share of the pool, % (each step doubles it)")
            axis.grid(axis="y")
            _ticks(axis, curves)
        _legend(left, arms, curves.starts)
        return made


def caption(curves: Curves, baseline: str, words: str) -> str:
    """What the picture shows, in words."""
    n = len(curves.regions)
    where = f"{n} test region{'s' if n > 1 else ''}"
    seeds = len(curves.seeds)
    if seeds == 1:
        sure = "One seed: there are no intervals."
    else:
        sure = f"Bars on the left: 95 % intervals of the {seeds} seeds on these regions."
        sure += f" Bands on the right: 95 % intervals of the paired differences {'over regions' if n >= 3 else 'over seeds'}."
    return (
        f"Left: {words} against the share of labelled patches, mean over {where}. Right: the difference to {baseline} on the same region "
        f"with the same seed. {sure} Diamonds: the share of its full-label F1 that the paper's core-set reached on MitoEM."
    )


def _curve(axis: Axes, curves: Curves, arm: Arm, figure: str, colour: str, thick: bool) -> None:
    points = [(share, curves.over_seeds(arm, share, figure)) for share in curves.shares]
    known = [(_x(share, curves), point) for share, point in points if point is not None]
    dashes = "--" if curves.starts and not arm.pretrained else "-"
    without_none = [(x, point) for (x, point), (share, _) in zip(known, [p for p in points if p[1]], strict=True) if share]
    xs, ys = [x for x, _ in without_none], [point.mean for _, point in without_none]
    label = arm.title(curves.starts)
    axis.plot(xs, ys, dashes, color=colour, lw=2.0 if thick else 1.0, label=label, zorder=3 if thick else 2)
    for x, point in known:
        half = point.half
        axis.errorbar(
            x,
            point.mean,
            yerr=half if thick else None,
            fmt="o",
            ms=4.5 if thick else 2.5,
            color=colour,
            elinewidth=1.0,
            capsize=2,
            zorder=3 if thick else 2,
        )


def _reference(axis: Axes, curves: Curves, arm: Arm, figure: str, words: str) -> None:
    full = curves.mean(arm, 1.0, figure) if 1.0 in curves.shares else None
    if full is None:
        return
    for part, text in ((1.0, f"{words} with all labels"), (0.9, "90 % of it")):
        axis.axhline(part * full.mean, color=drawing.FAINT, lw=0.9, ls=(0, (1, 2)), zorder=1)
        axis.annotate(
            text, (0.01, part * full.mean), (0, 2), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7
        )
    if figure == "f1":
        shown = {share: part for share, part in paper.OF_ALL.items() if share >= min(s for s in curves.shares if s > 0)}
        axis.plot(
            [_x(share, curves) for share in shown],
            [part * full.mean for part in shown.values()],
            "D",
            ms=6,
            mfc="none",
            mec=drawing.INK,
            mew=1.2,
            ls="none",
            label="the paper's core-set, by share",
            zorder=4,
        )


def _differences(
    axis: Axes, curves: Curves, arms: list[Arm], baseline: str, figure: str, colour: dict[str, str], default: str
) -> None:
    axis.axhline(0, color=drawing.MARKED.get(baseline, drawing.FAINT), lw=1.6, zorder=1)
    axis.annotate(baseline, (1.0, 0), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=7, va="center")
    for arm in reversed(arms):
        if arm.strategy == baseline:
            continue
        thick = arm.strategy in (default, *drawing.MARKED)
        points = [(s, _apart(curves, arm, baseline, s, figure)) for s in curves.shares if s > 0]
        known = [(_x(share, curves), point) for share, point in points if point is not None]
        xs, ys = [x for x, _ in known], [point.mean for _, point in known]
        dashes = "--" if curves.starts and not arm.pretrained else "-"
        axis.plot(xs, ys, dashes, color=colour[arm.strategy], lw=2.0 if thick else 1.0, marker="o", ms=4 if thick else 2, zorder=3)
        if arm.strategy == default and all(point.half is not None for _, point in known):
            low, high = [point.low for _, point in known], [point.high for _, point in known]
            axis.fill_between(xs, low, high, color=colour[arm.strategy], alpha=0.16, lw=0, zorder=2)


def _apart(curves: Curves, arm: Arm, baseline: str, share: float, figure: str) -> Estimate | None:
    other = Arm(baseline, arm.pretrained)
    return estimate(difference(curves.values(arm, share, figure), curves.values(other, share, figure)))


def _x(share: float, curves: Curves) -> float:
    """Place on the axis: doublings, and "none" a little to the left of them."""
    fewest = min((s for s in curves.shares if s > 0), default=1.0)
    return math.log2(share) if share > 0 else math.log2(fewest) - BEFORE


def _ticks(axis: Axes, curves: Curves) -> None:
    places = [_x(share, curves) for share in curves.shares]
    drawing.per_cent_axis(axis, places, ["none" if share == 0 else f"{100 * share:.3g}" for share in curves.shares])


def _legend(axis: Axes, arms: list[Arm], starts: bool) -> None:
    handles, labels = axis.get_legend_handles_labels()
    order = [arm.title(starts) for arm in arms]
    pairs = sorted(zip(handles, labels, strict=True), key=lambda p: order.index(p[1]) if p[1] in order else len(order))
    axis.legend([h for h, _ in pairs], [label for _, label in pairs], loc="upper left", fontsize=7.5, bbox_to_anchor=(0, 0.98))
