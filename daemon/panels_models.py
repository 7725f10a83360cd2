"""Models and the learning curve, with scores, intervals and verdicts; what more labels would bring; what selects."""

from __future__ import annotations

from rich.text import Text

from daemon.columns import filled, folded, headed, row, shared
from daemon.store.views import RoundView, Snapshot
from daemon.view import View, window
from daemon.view import rounds as arranged
from daemon.wording import clean, count, sparkline
from daemon.wording_quality import advice_words, worst_words
from daemon.wording_state import glyph, model_words, round_outcome, score_words, selection_words
from daemon.wording_work import bought_words, spent_words

CURVE = 40
"""Rounds in the curve, the newest."""


def models(snapshot: Snapshot, rows: int, width: int, view: View, whole: bool = False) -> list[Text]:
    """The model in use, the curve, the advice, and the rounds. whole: it has the page for itself, and room for more."""
    lines = [headed("models", width, view.keys_of("models") if whole else "")]
    best = next((m for m in snapshot.models if m.state == "promoted"), None)
    if best is not None:
        lines.append(Text.assemble(*model_words(best, snapshot.rounds)))
    elif snapshot.models:
        lines.append(Text.assemble(glyph("baseline"), f"{snapshot.models[-1].version}: no round finished yet"))
    else:
        lines.append(Text("none yet: training begins when enough volumes and labels are there", "dim"))
    lines += curve(snapshot)
    if snapshot.advice is not None:
        lines.append(Text.assemble(("advice  ", "dim"), clean(advice_words(snapshot.advice))))
    more = _more(snapshot)
    if whole or rows >= len(lines) + len(more) + 2 + min(3, len(snapshot.rounds)):
        lines += more
    if whole and len(snapshot.rounds):
        lines.append(Text(""))
    found = arranged(snapshot, view)
    below = detail(found[min(view.place, len(found) - 1)], width) if whole and found else []
    below = below if rows - len(lines) - len(below) >= 2 else []
    shown = window(len(found), rows - len(lines) - len(below), view.place if whole else 0)
    widths = [10, 11, 7 if width >= 90 else 0, 43 if width >= 90 else 20]
    widths += shared(width, widths, 1)
    for number, r in enumerate(found[shown], shown.start):
        line = row(_cells(r, width >= 90), widths)
        if whole and number == view.place:
            line.stylize("reverse")
        lines.append(line)
    return [*filled(lines, rows - len(below)), *below] if below else lines


def detail(r: RoundView, width: int) -> list[Text]:
    """All of a round: what it was trained and judged on, its scores with their intervals, and the verdict in full."""
    head = Text.assemble(("─ ", "dim"), glyph(_state(r)), (f"round {r.round}", "bold"), f"  {round_outcome(r)}")
    facts = f"{r.model or 'no model'}, {count(r.n_labels, 'label')}, {r.n_gate} held out, {r.fraction:.1%} of the pool"
    told = [
        *folded(f"{facts}: {score_words(r.scores)}", width - 2),
        *(folded(clean(r.verdict), width - 2) if r.verdict else []),
    ]
    return [head, *(Text("  " + line) for line in told)]


def _state(r: RoundView) -> str:
    return {True: "promoted", False: "rejected", None: r.state}[r.promoted]


def curve(snapshot: Snapshot) -> list[Text]:
    """F1 by round: a line from the lowest to the highest, with the figures at its ends."""
    values = [float(r.scores["f1"]) for r in snapshot.rounds if r.scores][-CURVE:]
    if not values:
        return []
    low, high = min(values), max(values)
    scale = "" if len(values) < 2 else f", lowest {low:.3f}, highest {high:.3f}"
    line = sparkline(values, low, high) if high > low else sparkline(values)
    return [
        Text.assemble(("F1 by round ", "dim"), (line, "green"), f" {values[0]:.3f} to {values[-1]:.3f}", (scale, "dim"))
    ]


def _more(snapshot: Snapshot) -> list[Text]:
    """What selects and whether that helps, the segmentations to look at, and the minutes spent."""
    chosen = [
        Text.assemble(("selects " if n == 0 else " " * 8, "dim"), text)
        for n, text in enumerate(selection_words(snapshot))
    ]
    told = [] if snapshot.quality is None else [part for part in worst_words(snapshot.quality) if part]
    worst = [Text.assemble(("look at " if n == 0 else " " * 8, "dim"), part) for n, part in enumerate(told)]
    spent = [part for part in (spent_words(snapshot.work), bought_words(snapshot.work)) if part]
    return [*chosen, *worst, *([Text.assemble(("minutes ", "dim"), "; ".join(spent))] if spent else [])]


def _cells(r: RoundView, wide: bool) -> list[Text | str]:
    scored = score_words(r.scores) if wide else f"F1 {r.scores['f1']:.3f} {round_outcome(r)}" if r.scores else ""
    return [
        Text.assemble(glyph(_state(r)), f"round {r.round}"),
        Text(count(r.n_labels, "label"), "dim"),
        Text(f"{r.fraction:.1%}", "dim"),
        scored if r.scores else round_outcome(r),
        Text.assemble(f"{round_outcome(r)}: " if wide and r.scores else "", clean(r.verdict), style="dim"),
    ]
