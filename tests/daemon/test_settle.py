"""Settling: whole only after quiet, never while somebody writes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.fileset import Fingerprint, is_temporary
from daemon.settle import Settling, is_wanted, quiet_needed, settle

F = Fingerprint(1, 100, 5, "2:100:5", "6")


def test_quiet_for_the_settle_time_is_whole():
    first = settle(None, F, 10.0, 3.0, None)
    assert not first.whole
    assert not settle(first.state, F, 12.9, 3.0, None).whole
    assert settle(first.state, F, 13.0, 3.0, None).whole


@pytest.mark.parametrize("field", ["files", "size", "mtime_ns", "content", "status"])
def test_any_change_starts_the_wait_afresh(field):
    state = settle(None, F, 0.0, 3.0, None).state
    changed = replace(F, **{field: getattr(F, field) * 2})
    answer = settle(state, changed, 100.0, 3.0, None)
    assert not answer.whole
    assert answer.state == Settling(changed, 100.0, grew=field == "size")


def test_open_for_writing_is_never_whole_and_starts_the_wait_afresh():
    answer = settle(Settling(F, 0.0), F, 1e6, 3.0, True)
    assert not answer.whole
    assert answer.state.since == 1e6
    assert "open for writing" in answer.why


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=1, max_size=40))
def test_whole_exactly_when_unchanged_for_long_enough(looks):
    """Oracle: the time of the last change, kept separately."""
    state, now, size, last_change = None, 0.0, 0, 0.0
    for wait, changed in looks:
        now += wait
        if changed or state is None:
            size += 1
            last_change = now
        answer = settle(state, replace(F, size=size), now, 4.0, None)
        state = answer.state
        assert answer.whole == (now - last_change >= 4.0)


@pytest.mark.parametrize(
    "name", [".a.tif.x8Kd2Q", ".hidden.tif", "a.tif~", "a.tif.part", "a.tmp", "~$a.tif", "Thumbs.db"]
)
def test_temporary_names(name):
    assert is_temporary(name)
    assert not is_wanted(name, ("*",), ())


def test_include_and_exclude():
    assert is_wanted("a.tif", ("*.tif",), ())
    assert not is_wanted("a.txt", ("*.tif",), ())
    assert not is_wanted("overview_a.tif", ("*.tif",), ("overview_*",))


@pytest.mark.parametrize(
    ("settle_s", "times", "missing", "marked", "needed"),
    [
        (10.0, None, False, False, 10.0),
        (10.0, None, False, True, 1.0),
        (0.5, None, False, True, 0.5),
        (10.0, None, True, False, 100.0),
        (10.0, None, True, True, 1.0),
        (10.0, [5.0], False, False, 100.0),
        (10.0, [1.0, 1.2, 1.4], False, False, 10.0),
        (10.0, [30.0, 0.0, 15.0], False, False, 100.0),
        (10.0, [0.0, 3.0, 6.0, 9.0, 500.0], False, False, 30.0),
    ],
)
def test_a_fileset_waits_as_long_as_its_pace_asks(settle_s, times, missing, marked, needed):
    assert quiet_needed(settle_s, times, missing, marked) == pytest.approx(needed)


def test_what_is_known_of_a_candidate_is_said():
    first = settle(None, F, 0.0, 3.0, None)
    assert first.why == "100 B"
    grown = settle(first.state, replace(F, size=3_100_000_000), 1.0, 3.0, None)
    assert grown.why == "growing, 3.1 GB"
    assert settle(grown.state, replace(F, size=3_100_000_000), 3.0, 3.0, None).why == "growing, 3.1 GB"
    assert settle(None, replace(F, files=5), 0.0, 3.0, None).why == "5 files, 100 B"
