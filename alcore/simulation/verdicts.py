"""What a run says about its strategies, in words: who is better than whom, by how much, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alcore.arrays.paired import Estimate, difference, estimate
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.table import signed

Word = Literal["better", "worse", "not told apart", "no interval", "not played"]


@dataclass(frozen=True)
class Verdict:
    """One arm against a baseline with the same start, by area under its curve. difference: None where nothing was played by both.

    n_ahead, n_compared: runs (region and seed) in which it is ahead, and that both have played; regions_ahead: regions in which
    its mean is.
    """

    arm: Arm
    baseline: Arm
    figure: str
    difference: Estimate | None
    n_ahead: int
    n_compared: int
    regions_ahead: int

    @property
    def word(self) -> Word:
        """The verdict."""
        if self.difference is None:
            return "not played"
        if self.difference.low is None:
            return "no interval"
        return ("worse", "not told apart", "better")[self.difference.sign + 1]

    def sentence(self, starts: bool) -> str:
        """The verdict with its numbers. starts: say whether arms are pre-trained."""
        who, whom = self.arm.title(starts), self.baseline.strategy
        found = self.difference
        if found is None:
            return f"{who}: there is no run that both it and {whom} have played to the end."
        runs = f"{self.n_ahead} of {self.n_compared} runs, {self.regions_ahead} of {found.n_regions} test regions"
        if found.low is None or found.high is None:
            return f"{who} against {whom}: {signed(found.mean)}, ahead in {runs}; one seed, so no interval, and no verdict."
        numbers = f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}], ahead in {runs}"
        says = {
            "better": f"is better than {whom}",
            "worse": f"is worse than {whom}",
            "not told apart": f"cannot be told apart from {whom}",
        }
        limit = "" if found.scope == "regions" else " (on these regions; of others the interval says nothing)"
        return f"{who} {says[self.word]}: {numbers}{limit}."


def against(curves: Curves, baseline: str, figure: str) -> list[Verdict]:
    """Every arm against the baseline with the same start, those further ahead first, those without a run in common last."""
    found = [
        _verdict(curves, arm, Arm(baseline, arm.pretrained), figure) for arm in curves.arms if arm.strategy != baseline
    ]
    return sorted(found, key=lambda v: (1.0 if v.difference is None else -v.difference.mean, v.arm))


def headline(curves: Curves, default: str, words: str, figure: str = "f1") -> str:
    """Does choosing pay on this data? One paragraph on the default strategy against random; pre-trained where that was played."""
    start = max((arm.pretrained for arm in curves.arms), default=0)
    ours, chance = Arm(default, start), Arm("random", start)
    absent = [arm.strategy for arm in (ours, chance) if arm not in curves.arms]
    if absent:
        return f"Whether choosing pays cannot be said: {' and '.join(absent)} {'were' if len(absent) > 1 else 'was'} not played."
    verdict = _verdict(curves, ours, chance, figure)
    found = verdict.difference
    if found is None:
        return f"Whether choosing pays cannot be said yet: no run of {default} and random is complete."
    by = f"{signed(found.mean)} {words}"
    if found.low is None or found.high is None:
        return f"One seed is too little to say whether choosing pays: {default} differs from random by {by}."
    ends = f"{signed(found.low)} to {signed(found.high)}"
    over = "on average over all numbers of labels"
    answer = {
        "better": f"Yes, choosing pays here: {default} scores {by} against random {over} (95 % interval {ends}).",
        "worse": f"No, choosing does harm here: {default} scores {by} against random {over} (95 % interval {ends}).",
        "not told apart": f"Not shown here: {default} scores {by} against random {over}, but the 95 % interval ({ends}) holds zero.",
    }[verdict.word]
    saved = _saved(curves, ours, chance, figure, words)
    return f"{answer} {saved}".strip()


def _saved(curves: Curves, ours: Arm, chance: Arm, figure: str, words: str, part: float = 0.9) -> str:
    """How many labels and minutes each takes to `part` of the score with all labels; "" where the curves do not say."""
    shares = [curves.share_for(arm, part, figure) for arm in (ours, chance)]
    if shares[0] is None or shares[1] is None:
        return ""
    told = []
    for arm, share in zip((ours, chance), shares, strict=True):
        assert share is not None
        minutes = curves.minutes_for(arm, share)
        labels = f"{share * curves.n_pool:.0f} patches" if curves.n_pool else f"{100 * share:.0f} % of the patches"
        told.append(f"{labels} ({minutes:.0f} min of the expert)" if minutes is not None else labels)
    return f"By the mean curves, {100 * part:.0f} % of the {words} with all labels takes {told[0]}; drawn at random, {told[1]}."


def _verdict(curves: Curves, arm: Arm, baseline: Arm, figure: str) -> Verdict:
    apart = difference(curves.areas(arm, figure), curves.areas(baseline, figure))
    kept = {region: v[np.isfinite(v)] for region, v in apart.items()}
    return Verdict(
        arm,
        baseline,
        figure,
        estimate(apart),
        sum(int((v > 0).sum()) for v in kept.values()),
        sum(len(v) for v in kept.values()),
        sum(bool(len(v) and v.mean() > 0) for v in kept.values()),
    )
