"""What may be removed, and when. Pure: time is an argument. Models, labels and predictions are never among it."""

from __future__ import annotations

from collections.abc import Mapping

DAY_S = 86400.0


def expired_between(last: float, now: float, keep_days: float) -> dict[str, tuple[float, float]]:
    """(from, before) for jobs by how they ended: those in it became needless since the last look, at `last`.

    What a job that is done worked with is in its artifact. One that failed or was cancelled may be tried again, from its
    checkpoint, for `keep_days`.
    """
    keep_s = keep_days * DAY_S
    return {"done": (last, now), "failed": (last - keep_s, now - keep_s), "cancelled": (last - keep_s, now - keep_s)}


def unused_cases(used: Mapping[str, float], now: float, keep_days: float) -> list[str]:
    """Of prepared training patches, by name with when a training last used each: those that none used for so long."""
    return sorted(name for name, at in used.items() if now - at > keep_days * DAY_S)
