"""When is an acquisition whole? A pure decision over fingerprints and a monotonic clock; the container check comes later, in a worker."""

from __future__ import annotations

import functools
import itertools
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from alcore.fileset import Fingerprint, is_temporary, names_like
from daemon.wording import size

MARKED_S = 1.0
"""Quiet that is enough once the writer has said, by a marker file, that it is done."""
PACE_FACTOR = 10.0
"""A fileset that grows by a file every 3 s is not whole before it was quiet for 30 s."""
GROWS = ("growing", "still open", "missing")
"""How the words begin for an acquisition that its writer is at, in `Answer.why` and in what the scan says."""
PATIENCE_FACTOR = 10.0
"""Files that belong to an acquisition and are not there yet are waited for so many settle times."""


@dataclass(frozen=True)
class Settling:
    """A candidate: its latest fingerprint, since when (monotonic seconds) it has not changed, and whether it ever grew."""

    fingerprint: Fingerprint
    since: float
    grew: bool = False


@dataclass(frozen=True)
class Answer:
    """whole: may it be read? why: what it waits for, in words, without the time. wait_s: the quiet that it has to keep."""

    state: Settling
    whole: bool
    why: str
    wait_s: float


def settle(
    before: Settling | None, now_is: Fingerprint, now: float, wait_s: float, open_for_writing: bool | None
) -> Answer:
    """Decide about one candidate.

    before: what was known at the last look. now: monotonic clock. wait_s: see `quiet_needed`. open_for_writing: True when a
    local process holds a file of it open for writing, None when that cannot be known (remote file systems).
    """
    if before is None:
        state = Settling(now_is, now)
    elif before.fingerprint != now_is:
        state = Settling(now_is, now, before.grew or now_is.size > before.fingerprint.size)
    else:
        state = before
    if open_for_writing:
        return Answer(Settling(now_is, now, state.grew), False, "still open for writing", wait_s)
    what = ("growing, " if state.grew else "") + (f"{now_is.files} files, " if now_is.files > 1 else "")
    return Answer(state, now - state.since >= wait_s, what + size(now_is.size), wait_s)


def quiet_needed(settle_s: float, change_times_s: Sequence[float] | None, missing: bool, marked: bool) -> float:
    """Seconds without any change after which a candidate is whole.

    change_times_s: when each of its files was last changed, for a fileset that may grow by more files; None for a single
    file. missing: files that belong to it are not there. marked: the writer has left its marker file.
    """
    if marked:
        return min(settle_s, MARKED_S)
    patience = PATIENCE_FACTOR * settle_s
    if missing:
        return patience
    if change_times_s is None:
        return settle_s
    times = sorted(change_times_s)
    if len(times) < 2:
        return patience  # nothing tells how fast the others follow
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return max(settle_s, min(PACE_FACTOR * statistics.median(gaps), patience))


def is_wanted(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Does a file name belong to a watched folder's volumes? Capitals do not matter."""
    if is_temporary(name):
        return False
    low = name.lower()
    return _like(include).match(low) is not None and _like(exclude).match(low) is None


@functools.lru_cache(maxsize=64)
def _like(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return names_like([pattern.lower() for pattern in patterns])
