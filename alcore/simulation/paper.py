"""What Zhao, Zhou and Chen (BVM 2025) report on MitoEM, to lay beside ours, and what this project set itself after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alcore.arrays.paired import Estimate, difference, estimate
from alcore.simulation.arms import Arm, Curves

SOURCE = "Zhao, Zhou and Chen, BVM 2025, on MitoEM: another image, larger patches, crops that overlap by half"
F1 = {1 / 16: 0.588, 1 / 8: 0.600, 1.0: 0.635}
"""Of the core-set, pre-trained, by share of the labels."""
F1_RANDOM = {1 / 8: 0.577}
"""Of random patches."""
OF_ALL = {1 / 16: 0.9265, 1 / 8: 0.945}
"""F1 as a share of that with all labels."""
TARGETS = {1 / 8: 0.95, 1 / 16: 0.92}
"""What this project wants of that share."""

Reached = Literal["reached", "missed", "not shown", "not played"]


@dataclass(frozen=True)
class Target:
    """One aim and what became of it. value: None where it was not played."""

    aim: str
    value: Estimate | None
    reached: Reached


def targets(curves: Curves, default: str, paper: str, oracle: str) -> list[Target]:
    """The project's aims for its default strategy, each with what these runs say. Names of the strategies as in the rows.

    Pre-trained arms count where there are any, as the method pre-trains. Where the default was not played, the shares are those
    of the paper's rule.
    """
    start = max((arm.pretrained for arm in curves.arms), default=0)
    ours = Arm(default, start)
    who = ours if ours in curves.arms else Arm(paper, start)
    found = []
    for share, least in TARGETS.items():
        value = curves.of_all(who, share, "f1") if share in curves.shares else None
        paper_s = f"the paper: {100 * OF_ALL[share]:.1f} %"
        aim = f"{who.strategy}: at {100 * share:g} % of the labels at least {100 * least:g} % of the F1 with all ({paper_s})"
        found.append(Target(aim, value, _at_least(value, least)))
    above = _compared(curves, ours, Arm(paper, start))
    word: Reached = "not played" if above is None else ("missed", "not shown", "reached")[above.sign + 1]
    found.append(Target(f"{default} above {paper} in area under the F1 curve, 95 % interval above zero", above, word))
    below = _compared(curves, ours, Arm(oracle, start))
    word = (
        "not played" if below is None else "missed" if below.sign < 0 else "reached" if below.mean >= 0 else "not shown"
    )
    found.append(Target(f"{default} not below {oracle} (which knows the truth) in area", below, word))
    return found


def _at_least(value: Estimate | None, least: float) -> Reached:
    if value is None:
        return "not played"
    return "reached" if value.mean >= least else "missed"


def _compared(curves: Curves, one: Arm, other: Arm) -> Estimate | None:
    if one == other:
        return None
    return estimate(difference(curves.areas(one, "f1"), curves.areas(other, "f1")))
