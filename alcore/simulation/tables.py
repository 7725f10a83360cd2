"""The tables of the paper made of a run: scores by core-set size (Tab. 1), core-set against random with and without pre-training
(Tab. 2), and one line per strategy with its area, differences, and the expert's minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alcore.arrays.paired import LEAST_REGIONS, Estimate, difference, estimate
from alcore.simulation import paper
from alcore.simulation.arms import Arm, Curves
from alcore.simulation.table import Entry, Line, Style, Table, quoted

FIGURES = {"f1": "F1", "accuracy": "accuracy", "panoptic_quality": "panoptic quality", "precision": "precision"}
"""Rows of Tab. 1: columns of results.csv and their names."""
PARTS = (0.9, 0.95)
"""Of the score with all labels: what the expert's effort is told for."""
HERE, THE_PAPER = "here", "the paper"
SHARE = "share of all labels"


def table1(curves: Curves, arm: Arm) -> Table:
    """Numbers of labels as columns; F1, accuracy, panoptic quality and precision, each with its share of what all labels give."""
    lines = []
    for figure, words in FIGURES.items():
        lines.append(_line(curves, (words, HERE), [curves.mean(arm, s, figure) for s in curves.shares]))
        if figure == "f1":
            lines.append(_from_paper(curves, (words, THE_PAPER), paper.F1))
        of_all = [curves.of_all(arm, s, figure) for s in curves.shares]
        lines.append(_line(curves, (f"{words}, {SHARE}", HERE), of_all, "per cent"))
        if figure == "f1":
            lines.append(_from_paper(curves, (f"{words}, {SHARE}", THE_PAPER), {**paper.OF_ALL, 1.0: 1.0}, "per cent"))
    return Table(
        f"table1_{curves.learner}_{arm.strategy}{'' if arm.pretrained else '_scratch'}",
        f"Scores by number of labelled patches: {arm.title(True)}",
        ("score", "where"),
        _sizes(curves),
        tuple(lines),
        (*how_sure(curves), f"The paper: {paper.SOURCE}. Absolute scores on different images cannot be compared."),
    )


def table2(curves: Curves, figure: str, words: str, one: str, other: str) -> Table:
    """Two strategies with and without pre-training, by number of labels, and the paired differences between them."""
    starts = sorted({arm.pretrained for arm in curves.arms}, reverse=True)
    arms = [Arm(s, start) for start in starts for s in (one, other) if Arm(s, start) in curves.arms]
    lines = [
        _line(curves, (arm.strategy, _start(arm)), [curves.mean(arm, share, figure) for share in curves.shares])
        for arm in arms
    ]
    pairs = [(Arm(one, start), Arm(other, start), f"{one} − {other}", _start(Arm(one, start))) for start in starts]
    pairs += [(Arm(name, 1), Arm(name, 0), name, "yes − no") for name in (one, other)]
    for a, b, *labels in (pair for pair in pairs if set(pair[:2]) <= set(arms)):
        apart = [
            estimate(difference(curves.values(a, share, figure), curves.values(b, share, figure)))
            if share < 1 or a.strategy == b.strategy
            else None
            for share in curves.shares
        ]
        lines.append(_line(curves, (labels[0], labels[1]), apart, "difference"))
    if figure == "f1":
        lines.append(_from_paper(curves, (f"core-set, {THE_PAPER}", "as published"), paper.F1))
        lines.append(_from_paper(curves, (f"random, {THE_PAPER}", "as published"), paper.F1_RANDOM))
    return Table(
        f"table2_{curves.learner}_{figure}",
        f"{words}: {one} against {other}, with and without pre-training",
        ("strategy", "pre-trained"),
        _sizes(curves),
        tuple(lines),
        how_sure(curves),
    )


def by_strategy(curves: Curves, figure: str, words: str, baselines: Sequence[str]) -> Table:
    """One line per arm, the largest area first: its area, paired differences of it to the baselines', and the effort."""
    eighth = [1 / 8] if 1 / 8 in curves.shares else []
    head = [
        f"area under {words}",
        *(f"− {name}" for name in baselines),
        *(f"{words} at 12.5 %, {SHARE}" for _ in eighth),
    ]
    for part in PARTS:
        head += [f"labels for {100 * part:.0f} %", f"minutes for {100 * part:.0f} %"]
    lines = []
    for arm in by_area(curves, figure):
        areas = curves.areas(arm, figure)
        entries = [_entry(curves, estimate(areas))]
        for baseline in baselines:
            other = Arm(baseline, arm.pretrained)
            apart = None if other == arm else estimate(difference(areas, curves.areas(other, figure)))
            entries.append(_entry(curves, apart, "difference"))
        entries += [_entry(curves, curves.of_all(arm, share, figure), "per cent") for share in eighth]
        for part in PARTS:
            entries += effort(curves, arm, part, figure)
        lines.append(Line((arm.strategy, _start(arm)), tuple(entries)))
    return Table(
        f"strategies_{curves.learner}_{figure}",
        f"Strategies by area under the {words} curve",
        ("strategy", "pre-trained"),
        tuple(head),
        tuple(lines),
        (
            "Area: the mean score over log2(labels), from the fewest to all. Differences are paired: same test region, same seed. Set in "
            "bold where the interval leaves zero out; not corrected for how many strategies are compared.",
            "Labels and minutes for a share of the score with all labels are read off the mean curve between its points; minutes "
            "are those of the simulated expert.",
            *how_sure(curves),
        ),
    )


def by_minutes(curves: Curves) -> Table:
    """The simulated expert's minutes by number of labels, one line per strategy (they do not depend on pre-training much, which
    only changes what uncertainty chooses)."""
    lines = [
        _line(curves, (arm.strategy, _start(arm)), [curves.mean(arm, s, "minutes") for s in curves.shares], "amount")
        for arm in curves.arms
    ]
    return Table(
        f"minutes_{curves.learner}",
        "Minutes of the simulated expert by number of labelled patches",
        ("strategy", "pre-trained"),
        _sizes(curves),
        tuple(lines),
    )


def target_table(found: Sequence[paper.Target], learner: str) -> Table:
    """What the project set itself, and what became of it."""
    lines = []
    for target in found:
        style: Style = "difference" if " area" in target.aim else "per cent"
        entry = None if target.value is None else Entry(target.value, style)
        lines.append(Line((target.aim, target.reached), (entry,)))
    return Table(f"targets_{learner}", "What this project set itself", ("aim", "reached?"), ("here",), tuple(lines))


def by_area(curves: Curves, figure: str) -> list[Arm]:
    """Arms, the largest mean area first; those without one last, by name."""
    found = [(estimate(curves.areas(arm, figure)), arm) for arm in curves.arms]
    return [arm for area, arm in sorted(found, key=lambda pair: (-pair[0].mean if pair[0] else 1.0, pair[1]))]


def effort(curves: Curves, arm: Arm, part: float, figure: str) -> list[Entry | None]:
    """[labels, minutes] for a part of the score with all labels, None where the curve does not say."""
    share = curves.share_for(arm, part, figure)
    if share is None:
        return [None, None]
    labels = quoted(share * curves.n_pool, "amount") if curves.n_pool else quoted(share, "per cent")
    return [labels, quoted(curves.minutes_for(arm, share), "amount")]


def how_sure(curves: Curves) -> tuple[str, ...]:
    """Sentences: what ± stands for, and what is missing."""
    regions, seeds = len(curves.regions), len(curves.seeds)
    where = f"{regions} test region{'s' if regions > 1 else ''}"
    if seeds == 1:
        sure = f"One seed on {where}: no interval can be given; play more seeds before you conclude anything."
    elif regions >= LEAST_REGIONS:
        sure = f"±: half the 95 % interval over {where} ({seeds} seeds each), or over seeds where that is wider."
    else:
        sure = f"±: half the 95 % interval over {seeds} seeds on {where}; of other regions it says nothing."
    found = [sure]
    if curves.n_complete < curves.n_wanted:
        only = (
            "only these count here"
            if curves.n_complete
            else "what there is of the others counts, and cannot well be compared"
        )
        found.append(
            f"Not finished: {curves.n_complete} of {curves.n_wanted} runs (a test region and a seed) have been played by every strategy to "
            f"the end; {only}."
        )
    if curves.n_nan:
        found.append(f"Points without a score (NaN), left out: {curves.n_nan}.")
    return tuple(found)


def _sizes(curves: Curves) -> tuple[str, ...]:
    return tuple(curves.size(share) for share in curves.shares)


def _line(curves: Curves, labels: tuple[str, ...], values: Sequence[Estimate | None], style: Style = "score") -> Line:
    return Line(labels, tuple(_entry(curves, value, style) for value in values))


def _entry(curves: Curves, value: Estimate | None, style: Style = "score") -> Entry | None:
    return None if value is None else Entry(value, style, len(curves.runs))


def _from_paper(
    curves: Curves, labels: tuple[str, ...], figures: Mapping[float, float], style: Style = "score"
) -> Line:
    return Line(labels, tuple(quoted(figures.get(share), style) for share in curves.shares))


def _start(arm: Arm) -> str:
    return "yes" if arm.pretrained else "no"
