"""A table of estimates: one description, written as markdown, as CSV, and as the cells that a terminal or a page draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alcore.arrays.paired import Estimate
from alcore.simulation.results import as_csv

Style = Literal["score", "difference", "per cent", "rounded", "amount"]
"""rounded: per cent without a decimal and without the sign."""
ABSENT = "–"


@dataclass(frozen=True)
class Entry:
    """A value and how it is written. wanted: runs that it has where none is missing, None = do not say. quoted: a figure from
    elsewhere, or one that has no runs of its own."""

    value: Estimate
    style: Style = "score"
    wanted: int | None = None
    quoted: bool = False

    @property
    def text(self) -> str:
        """Mean, half its interval, and the runs behind it where some are missing."""
        some = self.wanted is not None and self.value.n_runs < self.wanted
        return written(self.value, self.style) + (f" ({self.value.n_runs} of {self.wanted})" if some else "")

    @property
    def told_apart(self) -> bool:
        """Is it a difference whose interval leaves zero out?"""
        return self.style == "difference" and self.value.sign != 0


@dataclass(frozen=True)
class Line:
    """labels: the first cells. entries: one per column, None where there is nothing."""

    labels: tuple[str, ...]
    entries: tuple[Entry | None, ...]

    @property
    def from_elsewhere(self) -> bool:
        """Is all of it quoted?"""
        return all(entry.quoted for entry in self.entries if entry is not None)


@dataclass(frozen=True)
class Table:
    """name: of its files. labels, columns: headings. notes: sentences below it."""

    name: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """All lines as text, labels first."""
        return [[*line.labels, *(ABSENT if e is None else e.text for e in line.entries)] for line in self.lines]

    def markdown(self) -> str:
        """With its title and notes; differences that leave zero out are bold."""
        rows = []
        for line in self.lines:
            texts = [ABSENT if e is None else f"**{e.text}**" if e.told_apart else e.text for e in line.entries]
            rows.append([*line.labels, *texts])
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"**{self.title}**\n\n{markdown((*self.labels, *self.columns), rows, len(self.labels))}\n{notes}"

    def csv(self) -> str:
        """A line per row and statistic (mean, low, high, runs), numbers to six places."""
        rows: list[list[Any]] = []
        for line in self.lines:
            statistics = ("mean",) if line.from_elsewhere else ("mean", "low", "high", "runs")
            rows += [[*line.labels, s, *(_number(entry, s) for entry in line.entries)] for s in statistics]
        return as_csv((*self.labels, "statistic", *self.columns), rows)


def quoted(value: float | None, style: Style = "score") -> Entry | None:
    """A figure from elsewhere, without an interval."""
    return None if value is None else Entry(Estimate(value, None, None, 0, 0, "none"), style, None, True)


def written(value: Estimate, style: Style) -> str:
    """Mean and half the interval: 0.271 ± 0.046, +0.022 ± 0.018, 94.5 ± 1.2 %, 36.7."""
    half = value.half
    if style == "amount":
        return f"{value.mean:.1f}"
    if style == "rounded":
        return f"{100 * value.mean:.0f}"
    if style == "per cent":
        spread = "" if half is None or half < 5e-5 else f" ± {100 * half:.1f}"
        return f"{100 * value.mean:.1f}{spread} %"
    mean = signed(value.mean) if style == "difference" else f"{value.mean:.3f}"
    return mean if half is None else f"{mean} ± {half:.3f}"


def signed(value: float) -> str:
    """A difference: +0.022, −0.010; what rounds to nothing has no sign that could mislead."""
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "0.000"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """A table in markdown; the first `n_left` columns are words, the others numbers, to the right."""
    rule = ["---" if n < n_left else "--:" for n in range(len(head))]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(rule) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows)])


def _number(entry: Entry | None, statistic: str) -> float | int | None:
    if entry is None or (entry.quoted and statistic != "mean"):
        return None
    value = getattr(entry.value, "n_runs" if statistic == "runs" else statistic)
    return round(value, 6) if isinstance(value, float) else value


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
