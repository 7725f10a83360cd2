"""The learning curve (Fig. 3 of the paper): score against the share of the labels, and how far each strategy is from random."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from alcore.arrays.paired import LEAST_REGIONS, Estimate, difference, estimate
from alcore.simulation import drawing, paper
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.tables import by_area

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE = 1.5
"""Doublings to the left of the fewest labels at which "none" stands on an axis that has no zero."""
ROOM = 0.45
"""Above and below the means, as a share of their range, for intervals."""
NUDGE = 0.07
"""Doublings between the markers of two strategies at the same number of labels, so that their intervals can be told apart."""


def draw(curves: Curves, default: str, baseline: str, figure: str, words: str) -> Figure:
    """Left: mean scores over regions and seeds, with 95 % intervals of the seeds. Right: paired differences to `baseline`.

    A row for pre-trained arms and one for those from scratch, where both were played. The default strategy, the core-set, random
    and the oracle are thick, with intervals; the others are thin lines. Diamonds: what the paper's core-set reaches, as a share
    of our score with all labels.
    """
    arms = by_area(curves, figure)
    starts = sorted({arm.pretrained for arm in arms}, reverse=True)
    names = list(dict.fromkeys(arm.strategy for arm in arms))
    colour = drawing.colours(names, default)
    with drawing.style():
        made = drawing.new_figure(11.1, 0.7 + 3.9 * len(starts))
        axes = made.subplots(len(starts), 2, squeeze=False, sharex=True, sharey="col", width_ratios=(1.2, 1))
        panel = _Panel(curves, figure, colour, default)
        for (left, right), start in zip(axes, starts, strict=True):
            row = [arm for arm in arms if arm.pretrained == start]
            how = f", {'pre-trained on pseudo-labels' if start else 'from scratch'}" if len(starts) > 1 else ""
            panel.scores(left, row)
            panel.reference(left, Arm(default, start), words)
            panel.differences(right, row, baseline)
            left.set_title(f"{words}{how}")
            right.set_title(f"{words} minus that of {baseline}, paired")
            for axis in (left, right):
                axis.grid(axis="y")
                axis.set_xticks(*panel.ticks())
                axis.tick_params(labelbottom=start == starts[-1])
        for axis, means in zip(axes[-1], (panel.means, panel.apart), strict=True):
            axis.set_xlabel("labelled share of the pool, %")
            low, high = _limits(means)
            axis.set_ylim(max(low, 0.0) if axis is axes[-1][0] else low, high)  # a score is never below zero
        _legend(made, [left for left, _ in axes], names)
        return made


def caption(curves: Curves, baseline: str, words: str) -> str:
    """What the picture shows, in words."""
    n, seeds = len(curves.regions), len(curves.seeds)
    where = f"{n} test region{'s' if n > 1 else ''}"
    sure = "One seed: there are no intervals."
    if seeds > 1:
        sure = f"Bars: 95 % intervals of the {seeds} seeds on these regions. "
        sure += f"Band: the 95 % interval of the difference, {'over regions' if n >= LEAST_REGIONS else 'over seeds'}."
    return (
        f"Left: {words} against the share of labelled patches, mean over {where}. Right: the difference to {baseline} on the same region "
        f"with the same seed. {sure} Diamonds: the share of its full-label F1 that the paper's core-set reached on MitoEM."
    )


class _Panel:
    """Draws the arms of one start into axes."""

    def __init__(self, curves: Curves, figure: str, colour: dict[str, str], default: str) -> None:
        self.curves, self.figure, self.colour, self.default = curves, figure, colour, default
        self.positive = [share for share in curves.shares if share > 0]
        self.means: list[float] = []
        self.apart: list[float] = []

    def scores(self, axis: Axes, arms: list[Arm]) -> None:
        """Curves with the intervals of the seeds."""
        thick = [arm for arm in arms if self._thick(arm)]
        for arm in reversed(arms):
            shift = NUDGE * (thick.index(arm) - (len(thick) - 1) / 2) if arm in thick else 0.0
            none = self.curves.over_seeds(arm, 0.0, self.figure) if 0.0 in self.curves.shares else None
            points = [(s, self.curves.over_seeds(arm, s, self.figure)) for s in self.positive]
            known = [(self.x(share) + shift, point) for share, point in points if point is not None]
            axis.plot([x for x, _ in known], [p.mean for _, p in known], label=arm.strategy, **self._line(arm))
            self.means += [point.mean for _, point in known]
            alone = [] if none is None else [(self.x(0.0) + shift, none)]
            for x, point in [*alone, *known]:
                self._bar(axis, x, point, arm)

    def reference(self, axis: Axes, arm: Arm, words: str) -> None:
        """What all labels give, and the paper's shares of that."""
        full = self.curves.mean(arm, 1.0, self.figure) if 1.0 in self.curves.shares else None
        if full is None:
            return
        for part, text in ((1.0, f"{words} with all labels"), (0.9, "90 % of it")):
            axis.axhline(part * full.mean, color=drawing.FAINT, lw=0.9, ls=(0, (1, 2)), zorder=1)
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axis.annotate(text, (0.01, part * full.mean), (0, 2), fontsize=7, **place)
        shown = {s: part for s, part in paper.OF_ALL.items() if s >= min(self.positive)} if self.figure == "f1" else {}
        axis.plot(
            [self.x(share) for share in shown],
            [part * full.mean for part in shown.values()],
            "D",
            label="the paper's core-set (share of its own full-label F1)",
            ms=6,
            mfc="none",
            mec=drawing.INK,
            mew=1.2,
            zorder=4,
        )

    def differences(self, axis: Axes, arms: list[Arm], baseline: str) -> None:
        """Paired differences, with the interval of that of the default strategy."""
        axis.axhline(0, color=drawing.MARKED.get(baseline, drawing.FAINT), lw=1.6, zorder=1)
        for arm in reversed(arms):
            if arm.strategy == baseline:
                continue
            points = [(self.x(share), self._apart(arm, baseline, share)) for share in self.positive]
            known = [(x, point) for x, point in points if point is not None]
            self.apart += [point.mean for _, point in known]
            xs = [x for x, _ in known]
            axis.plot(xs, [p.mean for _, p in known], marker="o", ms=3.5 if self._thick(arm) else 2, **self._line(arm))
            if arm.strategy == self.default:
                ends = [(x, p.low, p.high) for x, p in known if p.low is not None and p.high is not None]
                if ends:
                    x, low, high = zip(*ends, strict=True)
                    axis.fill_between(x, low, high, color=self.colour[arm.strategy], alpha=0.16, lw=0, zorder=2)

    def x(self, share: float) -> float:
        """Place on the axis: doublings, and "none" a little to the left of them."""
        return math.log2(share) if share > 0 else math.log2(min(self.positive, default=1.0)) - BEFORE

    def ticks(self) -> tuple[list[float], list[str]]:
        """A tick per number of labels."""
        shares = self.curves.shares
        return [self.x(share) for share in shares], ["none" if s == 0 else f"{100 * s:.3g}" for s in shares]

    def _thick(self, arm: Arm) -> bool:
        return arm.strategy in (self.default, *drawing.MARKED)

    def _line(self, arm: Arm) -> dict[str, Any]:
        thick = self._thick(arm)
        return {"color": self.colour[arm.strategy], "lw": 2.0 if thick else 1.0, "zorder": 3.5 if thick else 2.5}

    def _bar(self, axis: Axes, x: float, point: Estimate, arm: Arm) -> None:
        thick, colour = self._thick(arm), self.colour[arm.strategy]
        if thick and point.half is not None:
            axis.errorbar(x, point.mean, yerr=point.half, fmt="none", color=colour, elinewidth=1.0, capsize=2, zorder=3)
        axis.plot(x, point.mean, "o", ms=4 if thick else 2.5, color=colour, zorder=4 if thick else 2.5)

    def _apart(self, arm: Arm, baseline: str, share: float) -> Estimate | None:
        ours, theirs = (self.curves.values(a, share, self.figure) for a in (arm, Arm(baseline, arm.pretrained)))
        return estimate(difference(ours, theirs))


def _limits(means: list[float]) -> tuple[float, float]:
    """Of an axis, as the means need it: intervals of few seeds would squeeze the curves into one line, and are cut off."""
    low, high = min(means, default=0.0), max(means, default=0.0)
    spare = max(ROOM * (high - low), 0.01)
    return low - spare, high + spare


def _legend(figure: Figure, axes: list[Axes], names: list[str]) -> None:
    """Below everything: each strategy once, the largest area first, then the paper."""
    found = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = [*(n for n in names if n in found), *(label for label in found if label not in names)]
    figure.legend(
        [found[label] for label in labels], labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=8
    )
