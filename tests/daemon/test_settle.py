"""Settling: whole only after quiet, never while somebody writes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.fileset import Fingerprint, is_temporary
from daemon.settle import Settling, is_wanted, settle

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
    assert answer.state == Settling(changed, 100.0)


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
