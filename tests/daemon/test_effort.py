"""Expected minutes fitted to the ledger: right on a line, hardly moved by forgotten sessions, never below nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.effort import LATEST, LEAST, Effort, fit

CONFIG = Effort(1.0, 0.25)


def line(base: float, per_object: float, objects: list[float]) -> list[tuple[float, float]]:
    return [(n, base + per_object * n) for n in objects]


@given(
    base=st.floats(0.1, 30),
    per_object=st.floats(0, 5),
    objects=st.lists(st.integers(0, 80), min_size=LEAST, max_size=40).filter(lambda o: len(set(o)) > 1),
)
def test_a_line_is_found_again(base, per_object, objects):
    timed = line(base, per_object, [float(n) for n in objects])
    found = fit(timed, CONFIG)
    if found.n < len(timed):  # the rich ones took so much longer than the median that they count as forgotten
        return
    assert found.base == pytest.approx(base, abs=1e-6)
    assert found.per_object == pytest.approx(per_object, abs=1e-6)


def test_too_few_labels_leave_it_to_the_configuration():
    assert fit(line(3, 1, [1.0, 2, 3, 4, 5, 6, 7]), CONFIG) is CONFIG
    assert fit(line(3, 1, [1.0, 2, 3, 4, 5, 6, 7, 8]), CONFIG) == Effort(3.0, 1.0, 8)
    assert fit([], CONFIG) is CONFIG


def test_sessions_that_were_forgotten_or_broken_off_hardly_matter():
    """A quarter of the labels tell nonsense, within the limits of what is left out anyway; least squares is far off."""
    rng = np.random.default_rng(1)
    objects = rng.integers(1, 30, 60).astype(float)
    minutes = 2 + 0.5 * objects + rng.normal(0, 0.5, 60).clip(-1, 1)
    minutes[:10] = 90
    minutes[10:15] = 0.5
    order = rng.permutation(60)
    found = fit([(float(objects[i]), float(minutes[i])) for i in order], CONFIG)
    assert found.base == pytest.approx(2, abs=1.5)
    assert found.per_object == pytest.approx(0.5, abs=0.12)
    slope, base = np.polyfit(objects, minutes, 1)
    assert abs(base - 2) > 5 or abs(slope - 0.5) > 0.3


@given(st.lists(st.tuples(st.floats(-1, 1e4), st.floats(-1, 1e5)), max_size=40))
def test_expected_minutes_are_never_negative_and_always_numbers(timed):
    found = fit(timed, CONFIG)
    assert 0 <= found.base < 1e6 and 0 <= found.per_object < 1e6
    assert found.minutes(12.0) >= 0
    assert found.n == 0 or found.base + found.per_object > 0


def test_objects_that_do_not_tell_leave_the_median():
    found = fit([(5.0, float(m)) for m in range(4, 13)], CONFIG)
    assert (found.base, found.per_object) == (8.0, 0.0)
    falling = fit([(float(n), 20.0 - n) for n in range(10)], CONFIG)
    assert (falling.base, falling.per_object) == (15.5, 0.0)


def test_only_the_latest_count():
    timed = line(20, 0, [3.0] * 50) + line(4, 0, [3.0] * LATEST)
    assert fit(timed, CONFIG) == Effort(4.0, 0.0, LATEST)
    assert Effort(4.0, 0.5).minutes(None) is None
    assert Effort(4.0, 0.0).minutes(None) == 4.0
