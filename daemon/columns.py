"""Text in columns of fixed widths: what a table library does, at the speed that a screen drawn twice a second wants."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Text

GAP = 1
"""Cells between two columns."""


def fitted(text: Text | str, width: int, right: bool = False) -> Text:
    """A text in exactly `width` cells, cut with an ellipsis or filled up."""
    made = text.copy() if isinstance(text, Text) else Text(text)
    made.truncate(max(0, width), overflow="ellipsis", pad=not right)
    if right:
        made.pad_left(max(0, width - made.cell_len))
    return made


def row(cells: Sequence[Text | str], widths: Sequence[int], right: Sequence[bool] = ()) -> Text:
    """Cells beside each other; those of width 0 are left out."""
    line = Text(no_wrap=True)
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if width > 0:
            line.append_text(fitted(cell, width, bool(right) and right[number]))
            line.append(" " * GAP)
    return line


def shared(width: int, fixed: Sequence[int], *shares: int) -> list[int]:
    """What is left of a width beside fixed columns, divided in these shares."""
    n = sum(w > 0 for w in fixed) + len(shares)
    left = max(0, width - sum(fixed) - GAP * n)
    parts = [left * share // sum(shares) for share in shares]
    parts[-1] += left - sum(parts)
    return parts


def beside(left: Sequence[Text], right: Sequence[Text], width: int, gap: int) -> list[Text]:
    """Two columns of lines of which the left one is `width` cells wide."""
    n = max(len(left), len(right))
    lines = []
    for a, b in zip(filled(left, n), filled(right, n), strict=True):
        line = fitted(a, width)
        line.append(" " * gap)
        lines.append(line.append_text(b))
    return lines


def filled(lines: Sequence[Text], n: int) -> list[Text]:
    """Exactly n lines: the first of these, or empty ones after them."""
    return [*lines[:n], *(Text() for _ in range(n - len(lines)))]


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` cells, broken between words where there are any."""
    width = max(4, width)
    lines = textwrap.wrap(text, width) or [""]
    return [part for line in lines for part in (chop_cells(line, width) if cell_len(line) > width else [line])]


def headed(title: str, width: int, keys: str = "") -> Text:
    """The rule above a panel, with its title, and what its keys do at the right end."""
    tail = f" {keys} ─" if keys else ""
    name = (
        title
        if cell_len(title) <= width - cell_len(tail) - 3
        else set_cell_size(title, max(0, width - cell_len(tail) - 4)) + "…"
    )
    rest = max(0, width - cell_len(name) - cell_len(tail) - 3)
    return Text.assemble(("─ ", "dim"), (name, "bold"), (" " + "─" * rest + tail, "dim"), no_wrap=True)
