"""The table that every benchmark prints: what was measured, against its limit."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measurement. limit: in the same unit, or None for what is only told to compare with."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """Is it within its limit?"""
        return self.limit is None or self.value <= self.limit


def show(title: str, rows: Sequence[Row]) -> int:
    """Print the table; returns the exit status: 0 when every limit is kept."""
    table = Table(title=f"{title}, {datetime.date.today()}, on {machine()}")
    for heading in ("what", "measured", "limit", "ratio to limit"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:g} {row.unit}".strip()
        ratio = f"{row.value / row.limit:.2f}" if row.limit else ""  # nothing is a limit, too
        table.add_row(row.what, f"{row.value:.2f} {row.unit}".strip(), limit, ratio)
    Console().print(table)
    return 0 if all(row.kept for row in rows) else 1


def machine() -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.machine()}, "
        f"Python {platform.python_version()}, load {load:.1f}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or "unknown"
