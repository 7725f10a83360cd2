"""The week in an hour: a leak would be seen in its table, and a slice of it loses nothing."""

from __future__ import annotations

import dataclasses
import math

import pytest

from benchmarks.soak import KEEP_DAYS, Sample, Soak, soak
from benchmarks.soak_week import DAY_S, Week
from daemon.config import load
from tests.daemon.daemons import RealDaemon

STILL = Sample(0.0, True, 60_000_000, 0, 0, 17, 15, 4_000_000, 600_000, 0.1, 0.3)


def played(tmp_path, **growth: float) -> dict[str, bool]:
    """Which limits are kept after a week in which so much was added every day."""
    soaked = Soak(Week(), RealDaemon(tmp_path, Week().config(KEEP_DAYS)))
    for day in range(8):
        more = {name: getattr(STILL, name) + int(by * day) for name, by in growth.items()}
        soaked.samples.append(dataclasses.replace(STILL, day=float(day), **more))
    return {row.what: row.kept for row in soaked.rows()}


def test_a_leak_is_beyond_its_limit(tmp_path):
    assert all(played(tmp_path).values())
    for name, what, growth in (
        ("rss", "daemon, RSS", 2e6),
        ("descriptors", "descriptors", 1),
        ("threads", "threads", 1),
    ):
        assert not played(tmp_path, **{name: growth})[f"{what}, growth in a day"]


def test_an_hour_is_a_week_and_less_is_played_as_fast(tmp_path):
    for minutes in (60.0, 8.0):
        week = Week(days=minutes * 60 * Week.compression / DAY_S)
        assert math.isclose(week.n_parts * week.part_s, 60 * minutes)
        assert math.isclose(week.n_parts * week.part_days, 7 * minutes / 60)
    config = tmp_path / "config.toml"
    config.write_text(Week().config(KEEP_DAYS))
    assert math.isclose(load(config).prediction.keep_days * Week.compression, KEEP_DAYS, rel_tol=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_slice_of_a_week_loses_nothing(tmp_path):
    rows = {row.what: row for row in soak(tmp_path, Week(days=0.07, volumes=90, labels=90, every=4))}
    for what in ("acquisitions that are not as they should be", "labels that were saved and not accepted"):
        assert rows[what].value == 0
    assert rows["rounds that failed"].value == rows["other jobs that failed"].value == 0
    assert rows["rounds"].value >= 1
    assert rows["volumes acquired (and cut off: 2)"].value == 12
    for what in ("descriptors", "threads"):
        assert rows[f"{what}, end"].value <= rows[f"{what}, start"].value + 1
