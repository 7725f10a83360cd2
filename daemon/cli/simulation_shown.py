"""What a simulation says, on a terminal: the answer, the tables in short, and the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from daemon.cli.output import say, table

if TYPE_CHECKING:
    from alcore.simulation.presentation import Shown
    from alcore.simulation.table import Entry, Table


def print_shown(shown: Sequence[Shown]) -> None:
    """Each learner's answer, tables and verdicts."""
    for part in shown:
        say(("learner ", "dim"), (part.learner, "bold"))
        for warning in part.warnings:
            say((f"Warning: {warning}", "bold yellow"))
        say(part.answer)
        for short in part.short:
            say("")
            say((short.title, "bold"))
            _print(short)
            for note in short.notes:
                say((note, "dim"))
        say("")
        for sentence in part.verdicts:
            say(f"- {sentence}")
        say("")


def _print(short: Table) -> None:
    """Differences whose interval leaves zero out are green or red."""
    headings = [*short.labels, *(f">{name}" for name in short.columns)]
    rows = [
        [*line.labels, *(_cell(e, text) for e, text in zip(line.entries, texts[len(line.labels) :], strict=True))]
        for line, texts in zip(short.lines, short.cells(), strict=True)
    ]
    table(headings, rows)


def _cell(entry: Entry | None, text: str) -> Text:
    if entry is None or not entry.told_apart:
        return Text(text)
    return Text(text, style="bold green" if entry.value.sign > 0 else "bold red")
