"""What may be removed, and when. Pure: time is an argument. Models and labels are never among it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

DAY_S = 86400.0
NIGHT_S = 2 * 3600.0
"""The hour of the nightly backup, in local time."""


def backup_due(last: float | None, now: float, offset_s: float) -> bool:
    """Has a night begun, at two o'clock of local time, since the last backup (None: there is none)? offset_s: local time is so far
    ahead of UTC. A backup from the future (the clock was set back) does not count."""
    if last is None or last > now + DAY_S:
        return True
    local = now + offset_s - NIGHT_S
    return last < now - local % DAY_S


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


def last_used(history: Sequence[tuple[str, float]]) -> dict[str, float]:
    """When each model was in use last: infinity for the one that is. history: (model, since when), oldest first."""
    found: dict[str, float] = {}
    for n, (model, _) in enumerate(history):
        found[model] = history[n + 1][1] if n + 1 < len(history) else math.inf
    return found


def kept_models(
    history: Sequence[tuple[str, float]], pile: Sequence[str], now: float, keep_models: int, keep_days: float
) -> set[str]:
    """The models whose segmentations stay: the first `keep_models` of `pile`, and those that were in use less than so long ago.

    pile: models in the order in which rollbacks bring them back, the one in use first.
    """
    recent = {model for model, at in last_used(history).items() if now - at < keep_days * DAY_S}
    return {*pile[: max(1, keep_models)], *recent}
