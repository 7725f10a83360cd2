"""How many workers a batch system ought to be asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass


def wanted(n_long: int, n_short: int, least: int, most: int) -> int:
    """Workers for jobs that wait or run: one for each long job, and one where there is anything to do at all."""
    return min(most, max(least, n_long, int(n_short > 0)))


@dataclass
class Lasting:
    """The most that was wanted within a while: what is wanted goes up and down from one look to the next."""

    n: int = 0
    since: float = 0.0

    def now(self, n_wanted: int, now: float, patience_s: float) -> int:
        """Look again."""
        if n_wanted >= self.n or now - self.since >= patience_s:
            self.n, self.since = n_wanted, now
        return self.n


def to_close(
    asked: Set[str], idle_s: Mapping[str, float], n_wanted: int, n_lasting: int, patience_s: float
) -> list[str]:
    """Which of the workers that were asked for go again. idle_s: for how long those that came have had nothing to do (0: they
    work). n_lasting: the most that was wanted within its patience. First those that have not come, so that none loses its place in
    the queue of the batch system for a moment without work; then those that were idle for longest, but none before its patience
    is over."""
    pending = sorted(asked - idle_s.keys())[: max(0, len(asked) - n_lasting)]
    idle = sorted((name for name in asked & idle_s.keys() if idle_s[name] >= patience_s), key=lambda n: -idle_s[n])
    return [*pending, *idle][: max(0, len(asked) - n_wanted)]
