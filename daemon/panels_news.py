"""What is wrong, each with what to do; and what happened."""

from __future__ import annotations

from rich.text import Text

from daemon.columns import folded, headed
from daemon.store.views import Problem, Snapshot
from daemon.view import View, window
from daemon.view import events as arranged_events
from daemon.view import problems as arranged_problems
from daemon.wording import duration
from daemon.wording_problems import problem_mark, problem_words, with_remedy
from daemon.wording_state import event_line, glyph

AGE = 12
"""Cells for how long something has been wrong."""


def problems(snapshot: Snapshot, rows: int, width: int, view: View, whole: bool = False) -> list[Text]:
    """What is wrong. whole: each in full with what to do, from the one that is looked at on; else one line each, cut."""
    found = arranged_problems(snapshot, view) if whole else list(snapshot.problems)
    n = len(snapshot.problems)
    lines = [headed(f"problems: {n}" if n else "problems", width, view.keys_of("problems") if whole else "")]
    if not n:
        return [*lines, Text.assemble(glyph("ok"), "none")]
    if not found:
        return [*lines, Text(f"none of the {n}: f shows others", "dim")]
    if whole:
        for problem in found[min(view.place, len(found) - 1) :]:
            if len(lines) >= rows:
                break
            lines += full(problem, snapshot.at, width)
        return lines
    shown = found[: rows - 1 if n <= rows - 1 else max(1, rows - 2)]
    lines += [Text.assemble(problem_mark(p), with_remedy(p)) for p in shown]
    if len(shown) < n:
        lines.append(Text(f"  and {n - len(shown)} more: press 4", "dim"))
    return lines


def full(problem: Problem, now: float, width: int) -> list[Text]:
    """A problem in as many lines as it needs: sign and age, what is wrong, what to do."""
    told = folded(problem_words(problem), width - AGE - 2)
    age = duration(now - problem.since).rjust(AGE - 2)
    lines = [Text.assemble(problem_mark(problem), (age + "  ", "dim"), told[0])]
    indent = " " * (AGE + 2)
    lines += [Text(indent + line) for line in told[1:]]
    if problem.todo:
        first, *rest = folded(problem.todo, width - AGE - 4)
        lines += [Text(f"{indent}→ {first}", "italic"), *(Text(f"{indent}  {line}", "italic") for line in rest)]
    return lines


def events(snapshot: Snapshot, rows: int, width: int, view: View, whole: bool = False) -> list[Text]:
    """What happened, newest first. whole: filtered and in order, and every event in full."""
    top = headed("events", width, view.keys_of("events") if whole else "")
    if not whole:
        return [top, *(event_line(e, snapshot.at) for e in snapshot.events[: max(0, rows - 1)])]
    found = arranged_events(snapshot, view)
    if not found:
        return [top, Text("none: f shows others" if snapshot.events else "none yet", "dim")]
    return [top, *(event_line(e, snapshot.at) for e in found[window(len(found), rows - 1, view.place)])]
