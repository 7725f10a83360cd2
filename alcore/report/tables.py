"""A table as HTML and as CSV. Text from outside is escaped in one, and cannot be taken for a formula in the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape

from alcore.report.content import Cell, Column, Table

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets take text that begins so for a formula and run it."""
WRAPS = 36
"""Characters beyond which text may take several lines."""


def csv_text(table: Table) -> str:
    """All rows, a heading line first, lines ended by CRLF (RFC 4180). Text that a spreadsheet would run gets a ' in front."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.name for column in table.columns])
    writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(FORMULA) else cell
    return "" if cell is None else cell


def html_table(table: Table) -> str:
    """The first `shown` rows without the columns that are empty in all of them, with a line that says where all are. Sorting is the
    page's."""
    rows, n = table.rows[: table.shown], len(table.rows)
    if not n:
        return '<p class="none">Nothing yet.</p>'
    used = [
        i for i in range(len(table.columns)) if table.columns[i].words and any(row[i] not in (None, "") for row in rows)
    ]
    kinds = [_kind([row[i] for row in rows]) for i in used]
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(table.columns[i].words)}</th>'
        for i, kind in zip(used, kinds, strict=True)
    )
    lines = "".join(
        f"<tr>{''.join(_cell(row[i], table.columns[i], kind) for i, kind in zip(used, kinds, strict=True))}</tr>"
        for row in rows
    )
    more = f"The first {table.shown:,} of {n:,}; all of them: " if n > table.shown else "As a file: "
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table class="sortable">'
        f'<caption class="hidden">{escape(table.title)}</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody>'
        f'</table></div><p class="small">{more}<code>{escape(table.name)}.csv</code></p>'
    )


def _kind(cells: Sequence[Cell]) -> str:
    """Class of a column: n(umbers), w(ide text that may wrap), or s(hort text)."""
    found = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, (int, float)) for cell in found):
        return "n"
    return "w" if max(len(str(cell)) for cell in found) > WRAPS else "s"


def _cell(cell: Cell, column: Column, kind: str) -> str:
    value = f' data-v="{cell}"' if kind == "n" and cell is not None else ""
    return f'<td class="{kind}"{value}>{escape(words(cell, column.digits))}</td>'


def words(cell: Cell, digits: int | None) -> str:
    """A cell for people."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.{2 if digits is None else digits}f}"
    return f"{cell:,}" if isinstance(cell, int) and digits is None else str(cell)
