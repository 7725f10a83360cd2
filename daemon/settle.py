"""When is a file whole? A pure decision over fingerprints and a monotonic clock; the container check comes later, in a worker."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from alcore.fileset import Fingerprint, is_temporary


@dataclass(frozen=True)
class Settling:
    """A candidate: its latest fingerprint and since when (monotonic seconds) it has not changed."""

    fingerprint: Fingerprint
    since: float


@dataclass(frozen=True)
class Answer:
    """whole: may it be read? why: what it waits for, in words."""

    state: Settling
    whole: bool
    why: str


def settle(
    before: Settling | None, now_is: Fingerprint, now: float, settle_s: float, open_for_writing: bool | None
) -> Answer:
    """Decide about one candidate.

    before: what was known at the last look. now: monotonic clock. open_for_writing: True when a local process holds the
    file open for writing, None when that cannot be known (remote file systems, other people's files).
    """
    state = Settling(now_is, now) if before is None or before.fingerprint != now_is else before
    if open_for_writing:
        return Answer(Settling(now_is, now), False, "still open for writing")
    quiet = now - state.since
    if quiet < settle_s:
        word = "growing" if before is not None and now_is.size > before.fingerprint.size else "quiet"
        return Answer(state, False, f"{word}, {now_is.size / 1e6:.1f} MB, quiet for {quiet:.0f} of {settle_s:.0f} s")
    return Answer(state, True, "")


def is_wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Does a file name belong to a watched folder's volumes?"""
    if is_temporary(name):
        return False
    return any(fnmatch.fnmatch(name, p) for p in include) and not any(fnmatch.fnmatch(name, p) for p in exclude)
