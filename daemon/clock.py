"""Times of day by the clock on the wall: the training window and the times at which a round opens. Pure; daylight saving is
the zone's affair."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo


def time_of_day(text: str) -> time:
    """ "21:30" -> 21:30. Raises ValueError in words."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if not found:
        raise ValueError(f'must be a time of day such as "21:30", got {text!r}')
    return time(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Window:
    """Hours of the day, the end not among them; they may cross midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """ "20:00-06:00" -> a window. Raises ValueError in words."""
        parts = text.split("-")
        if len(parts) != 2:
            raise ValueError(f'must be two times of day such as "20:00-06:00", got {text!r}')
        start, end = (time_of_day(part) for part in parts)
        if start == end:
            raise ValueError(f"begins and ends at the same time, got {text!r}; leave it empty for the whole day")
        return cls(start, end)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def holds(self, now: float, zone: tzinfo | None = None) -> bool:
        """Is it within these hours? now: seconds since the epoch. zone: None = the machine's.

        Only what the clock shows counts: an hour that it shows twice lies twice within, one that it leaves out never.
        """
        shown = datetime.fromtimestamp(now, zone).time()
        if self.start < self.end:
            return self.start <= shown < self.end
        return shown >= self.start or shown < self.end


def latest(times: Iterable[time], now: float, zone: tzinfo | None = None) -> float | None:
    """The last moment, at or before `now`, at which the clock showed one of these times; None without times.

    A time that the clock leaves out in spring counts as the one an hour later; one that it shows twice as its first showing.
    """
    today = datetime.fromtimestamp(now, zone).date()
    moments = (
        datetime.combine(today - timedelta(days=back), at, zone).timestamp() for at in times for back in (0, 1, 2)
    )
    return max((m for m in moments if m <= now), default=None)
