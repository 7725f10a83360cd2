"""Times of day: windows and scheduled moments, also over midnight and where the clock is put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.clock import Window, latest, time_of_day

BERLIN = ZoneInfo("Europe/Berlin")
"""On 29 March 2026 02:00 is followed by 03:00, on 25 October 2026 03:00 by 02:00."""


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        ("20:00-06:00", "2026-01-10 20:00", True),
        ("20:00-06:00", "2026-01-10 23:59:59", True),
        ("20:00-06:00", "2026-01-11 05:59", True),
        ("20:00-06:00", "2026-01-11 06:00", False),
        ("20:00-06:00", "2026-01-11 12:00", False),
        ("09:00-17:30", "2026-07-01 09:00", True),
        ("09:00-17:30", "2026-07-01 17:30", False),
        ("09:00-17:30", "2026-07-01 02:00", False),
    ],
)
def test_a_window_holds_its_hours(window: str, moment: str, inside: bool) -> None:
    assert Window.parse(window).holds(at(moment), BERLIN) is inside


@given(
    st.times(),
    st.times(),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda d: d.replace(tzinfo=UTC)),
)
def test_any_moment_is_in_a_window_or_in_its_complement(start: time, end: time, moment: datetime) -> None:
    start, end = (t.replace(second=0, microsecond=0) for t in (start, end))
    if start == end:
        return
    now = moment.timestamp()
    assert Window(start, end).holds(now, BERLIN) is not Window(end, start).holds(now, BERLIN)


def test_a_night_of_the_clock_change_is_one_stretch() -> None:
    window = Window.parse("20:00-06:00")
    for evening, hours in (("2026-03-28 20:00", 9), ("2026-10-24 20:00", 11), ("2026-06-10 20:00", 10)):
        begins = at(evening)
        assert not window.holds(begins - 1, BERLIN)
        assert all(window.holds(begins + minute * 60, BERLIN) for minute in range(hours * 60))
        assert not window.holds(begins + hours * 3600, BERLIN)


@pytest.mark.parametrize("text", ["20:00", "20:00-25:00", "8pm-6am", "20:00-20:00", "20:00-06:00-07:00", ""])
def test_what_is_no_window_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"\d\d:\d\d|got"):
        Window.parse(text)


def test_the_last_scheduled_moment() -> None:
    times = [time_of_day("12:30"), time_of_day("21:00")]
    assert latest(times, at("2026-01-10 12:29"), BERLIN) == at("2026-01-09 21:00")
    assert latest(times, at("2026-01-10 12:30"), BERLIN) == at("2026-01-10 12:30")
    assert latest(times, at("2026-01-10 23:00"), BERLIN) == at("2026-01-10 21:00")
    assert latest([], at("2026-01-10 23:00"), BERLIN) is None


def test_a_scheduled_moment_comes_once_a_day_whatever_the_clock_does() -> None:
    for day in ("2026-03-28", "2026-10-24"):
        begins = at(f"{day} 12:00")
        for text in ("02:30", "03:00", "12:00"):
            seen = {latest([time_of_day(text)], begins + m * 600, BERLIN) for m in range(3 * 24 * 6)}
            dates = [datetime.fromtimestamp(moment, BERLIN).date() for moment in seen if moment]
            assert len(set(dates)) == len(dates)  # never twice on a day
            assert max(dates) - min(dates) == timedelta(len(dates) - 1)  # and no day without
