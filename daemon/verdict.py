"""Who is promoted: the court's rule on what two models did on the held-out patches, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alcore.arrays.court import Comparison, Difference, Ruling

Evaluation = Mapping[str, Any]
"""What the stage `evaluate` returns."""

SEED = 0
"""Of the bootstrap: the same evidence always gives the same verdict."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a round. ruling: the court's word, empty where it was not asked. instead: the model that comes into use
    in place of the candidate, empty where none does."""

    promoted: bool
    reason: str
    ruling: str = ""
    instead: str = ""


UNGATED = Verdict(True, "ungated: no held-out labels yet")
"""Without held-out labels there is nothing to compare with."""


def gated(ruling: str) -> bool:
    """Was the model promoted because it was better on enough held-out patches? ruling: the court's word, empty for none."""
    return ruling in ("better", "not worse")


def judge(candidate: Evaluation, current: Evaluation | None, name: str, serving: bool, least: int) -> Verdict:
    """The verdict on a candidate, by the rule in `alcore.arrays.court`.

    current: the model `name` on the same held-out patches, None when there is none. serving: has it been promoted? While
    no model has, one of the two comes into use, which is better than no segmentation at all: the candidate where it is no
    lower, or else the pre-trained one. least: held-out patches below which there is no gate.
    Raises ValueError when the two were not scored on the same patches.
    """
    n = len(candidate["per_label"])
    gate = f"on {n} held-out patch{'' if n == 1 else 'es'}"
    if current is None:
        mine = candidate["scores"]
        return Verdict(True, f"first model: F1 {mine['f1']:.2f}, Dice {mine['dice']:.2f} {gate}")
    from alcore.arrays.court import promotes, rule

    found = _compare(candidate, current)
    ruling = rule(found, max(2, least))
    figures = f"F1 {_against(found.f1, name)}; Dice {_against(found.dice, '')} {gate}"
    opening = _opening(ruling, name, serving, least)
    if not serving and not promotes(ruling):
        if found.not_lower:
            return Verdict(True, f"{opening}, but no model is in use yet: {figures}", ruling)
        lower = ", and lower" if ruling == "undecided" else ""
        return Verdict(
            False, f"{opening}{lower}, so {name} comes into use: {figures}{_advice(ruling, found)}", ruling, name
        )
    return Verdict(promotes(ruling), f"{opening}: {figures}{_advice(ruling, found)}", ruling)


def with_intervals(evaluation: Evaluation) -> dict[str, Any]:
    """The scores of an evaluation with the number of patches ("n_patches") and 90 % intervals ("interval": {"f1": [low,
    high], "dice": ...}); none for a single patch, or for an evaluation of before counts were kept."""
    import numpy as np

    from alcore.arrays.court import intervals
    from alcore.arrays.matching import Counts

    rows = sorted(evaluation["per_label"], key=lambda row: str(row["label"]))
    scores = {**evaluation["scores"], "n_patches": len(rows)}
    if all("counts" in row for row in rows):
        counts, volumes = [Counts(**row["counts"]) for row in rows], [row["volume"] for row in rows]
        found = intervals(counts, volumes, np.random.default_rng(SEED))
        scores["interval"] = {name: [round(v, 4) for v in ends] for name, ends in found.items()}
    return scores


def _compare(candidate: Evaluation, current: Evaluation) -> Comparison:
    import numpy as np

    from alcore.arrays.court import compare
    from alcore.arrays.matching import Counts

    mine, theirs = ({row["label"]: row for row in e["per_label"]} for e in (candidate, current))
    if mine.keys() != theirs.keys():
        raise ValueError("the two models were not scored on the same held-out patches")
    order = sorted(mine)
    counts = [[Counts(**rows[label]["counts"]) for label in order] for rows in (mine, theirs)]
    return compare(counts[0], counts[1], [mine[label]["volume"] for label in order], np.random.default_rng(SEED))


def _against(d: Difference, name: str) -> str:
    of = f" of {name}" if name else ""
    interval = "" if d.low is None or d.high is None else f" ({d.low:+.2f} to {d.high:+.2f})"
    return f"{d.candidate:.2f} against {d.current:.2f}{of}, difference {d.value:+.2f}{interval}"


def _opening(ruling: Ruling, name: str, serving: bool, least: int) -> str:
    if ruling == "undecided":
        return f"undecided, {name} stays" if serving else "undecided"
    if ruling.startswith("ungated"):
        lower = ", and lower" if ruling == "ungated, lower" else ""
        return f"ungated (fewer than {max(2, least)} held-out patches){lower}"
    return ruling


def _advice(ruling: Ruling, found: Comparison) -> str:
    from alcore.arrays.court import patches_needed

    needed = patches_needed(found) if ruling == "undecided" else None
    return "" if needed is None or needed <= found.n else f"; about {needed} would tell"
