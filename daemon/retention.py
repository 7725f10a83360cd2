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


NEAR, FULL, ROOM_AGAIN = 0.9, 1.0, 0.97
"""Of the budget: from here on caches go; no new work; new work again, with a margin, so that it does not go on and off."""


def pressure(used: float | None, budget: float, was_full: bool) -> str:
    """How the workspace stands to its budget, both in bytes: "" well, "near", or "full". used: None = not known yet.

    was_full: it was the last time: then there has to be a little more room than that.
    """
    if budget <= 0 or used is None:
        return ""
    if used >= (ROOM_AGAIN if was_full else FULL) * budget:
        return "full"
    return "near" if used >= NEAR * budget else ""


def to_shed(caches: Sequence[tuple[float, int]], too_much: float) -> list[int]:
    """Which caches go, the oldest first, until `too_much` bytes are free: positions in `caches`, (last used, bytes) each."""
    found, freed = [], 0
    for place in sorted(range(len(caches)), key=lambda i: (caches[i][0], i)):
        if freed >= too_much:
            break
        found.append(place)
        freed += caches[place][1]
    return found


ALWAYS = ("label",)
"""Stages that run although the workspace is full: what a person drew is checked and kept."""


def may_begin(stage: str, full: bool) -> bool:
    """May a job of this stage begin now?"""
    return not full or stage in ALWAYS


COMMANDS_S = 90 * DAY_S
"""Answers to commands are remembered for so long."""


def leftovers_expire(now: float, keep_days: float, pressed: bool) -> float:
    """Results that nobody reads go when they are needless since before this moment; at once when room is short."""
    return now if pressed else now - keep_days * DAY_S


def log_expires(now: float, keep_days: float) -> float:
    """Logs of jobs that ended before this moment go, however short room is: they are small."""
    return now - keep_days * DAY_S
