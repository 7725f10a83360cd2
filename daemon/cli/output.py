"""How commands print: one line, a table, or JSON. Names from outside never act as markup or control the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.wording import clean

UNCUT = 100_000
"""Width of the output into a pipe: nothing is cut there."""


def console() -> Console:
    """Standard output, without any markup, emoji or highlighting."""
    wide = None if sys.stdout.isatty() else UNCUT
    return Console(highlight=False, emoji=False, markup=False, width=wide)


def say(*parts: str | tuple[str, str] | Text) -> None:
    """One line on standard output."""
    console().print(Text.assemble(*(clean(p) if isinstance(p, str) else p for p in parts)), soft_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], flexible: Sequence[str] = ()) -> None:
    """A table on standard output; on a terminal the flexible columns are cut to fit, in a pipe nothing is.

    A heading that begins with ">" is that of a column of numbers.
    """
    out = console()
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=out.is_terminal)
    for heading in headings:
        name = heading.removeprefix(">")
        made.add_column(
            name,
            justify="right" if heading != name else "left",
            ratio=1 if name in flexible and out.is_terminal else None,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row))
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as drawn:
        out.print(made)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().splitlines()))


def print_json(value: Any) -> None:
    """JSON on standard output, ASCII only: valid whatever the names and the terminal are."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
