"""Words for alarms and for the run that was declared."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.store.alarm_listing import AlarmView, ExpectView
from daemon.wording import clean, count, duration

FRESH_S = 900.0
"""So long an alarm stands on top of the screen."""


def expect_words(expected: ExpectView | None, now: float) -> str:
    """ "a file is expected at least every 2 h 00 min, for 1 d 4 h more"; "" where no run is declared."""
    if expected is None or (expected.until is not None and expected.until <= now):
        return ""
    ends = "" if expected.until is None else f", for {duration(expected.until - now)} more"
    return f"a file is expected at least every {duration(expected.every_s)}{ends}"


def fresh_words(alarms: Sequence[AlarmView], now: float) -> str:
    """The newest alarm of the last minutes, and how many others there were; "" for none."""
    fresh = [a for a in alarms if now - a.raised_at < FRESH_S]
    if not fresh:
        return ""
    more = f" ({count(len(fresh) - 1, 'more alarm')})" if len(fresh) > 1 else ""
    return f"{duration(now - fresh[0].raised_at)} ago{more}: {fresh[0].kind}: {clean(fresh[0].message)}"
