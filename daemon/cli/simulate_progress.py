"""How far a simulation is, on one line of a terminal that is drawn again and again, and lines between that stay."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from daemon.wording import clean

if TYPE_CHECKING:
    from alcore.simulation.engine import Progress

QUIET_S = 30.0
"""Between lines of progress where nobody sits at a terminal."""


class Line:
    """Progress on one line of a terminal, or on a line now and then."""

    def __init__(self, began: float) -> None:
        self._began, self._told = began, began
        self._live = sys.stderr.isatty()

    def tell(self, progress: Progress) -> None:
        """Draw it."""
        text = progress.doing
        if progress.total:
            left = "" if progress.left_s is None else f", about {_time(progress.left_s)} left"
            share = progress.done / progress.total
            text = f"{progress.done} of {progress.total} cells ({share:.0%}){left}: {progress.doing}"
        if self._live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
            sys.stderr.flush()
        elif time.monotonic() - self._told >= QUIET_S:
            self._told = time.monotonic()
            sys.stderr.write(f"{text}\n")

    def say(self, text: str) -> None:
        """A line of its own, that stays."""
        self.end()
        sys.stderr.write(f"alscope: {clean(text)}\n")

    def end(self) -> None:
        """Empty the line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
