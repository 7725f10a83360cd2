"""How many workers a batch system ought to be asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set


def wanted(n_long: int, n_short: int, least: int, most: int) -> int:
    """Workers for jobs that wait or run: one for each long job, and one where there is anything to do at all."""
    return min(most, max(least, n_long, int(n_short > 0)))


def to_close(asked: Set[str], idle_s: Mapping[str, float], n_wanted: int, patience_s: float) -> list[str]:
    """Which of the workers that were asked for go again. idle_s: for how long those that came have had nothing to do (0: they
    work). First those that have not come, then those that were idle for longest, but none before its patience is over."""
    too_many = len(asked) - n_wanted
    if too_many <= 0:
        return []
    pending = sorted(asked - idle_s.keys())
    idle = sorted((name for name in asked & idle_s.keys() if idle_s[name] >= patience_s), key=lambda n: -idle_s[n])
    return [*pending, *idle][:too_many]
