"""How long the engine takes for one turn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ticks:
    """How long the engine takes to bring everything in line: the last time, and all of them."""

    n: int = 0
    last_s: float = 0.0
    total_s: float = 0.0

    def passed(self, seconds: float) -> None:
        """One more."""
        self.n, self.last_s, self.total_s = self.n + 1, seconds, self.total_s + seconds
