"""How long each kind of acquisition is waited for, in folders with settings of their own: marker files, pace, patience."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.arrival import Arriving
from daemon.settle import MARKED_S
from tests.daemon.arrivals import SETTLE_S, Arrivals


@pytest.fixture
def watching(tmp_path, monkeypatch):
    made: list[Arrivals] = []

    def make(*watch: dict[str, Any]) -> Arrivals:
        made.append(Arrivals(tmp_path, monkeypatch, watch=[{"folder": "in", "settle_s": SETTLE_S} | w for w in watch]))
        return made[0]

    yield make
    for arrivals in made:
        arrivals.close()


def quiet_until_whole(arrivals: Arrivals, most: float = 20 * SETTLE_S) -> float:
    """Seconds until the next acquisition is found whole, in steps of half a second."""
    begun, before = arrivals.now, len(arrivals.settled())
    while len(arrivals.settled()) == before:
        assert arrivals.now - begun < most
        arrivals.look()
        arrivals.hear()
        arrivals.now += 0.5
    return arrivals.now - 0.5 - begun


def stack(folder: Path) -> Path:
    path = folder / "a.ome.tif"
    path.write_bytes(b"1")
    return path


def tree(folder: Path) -> Path:
    path = folder / "a.ome.zarr"
    path.mkdir()
    (path / "zarr.json").write_bytes(b"{}")
    return path


def slices(folder: Path) -> Path:
    path = folder / "2024.05_slices"
    path.mkdir()
    (path / "z0.tif").write_bytes(b"1")
    return path


@pytest.mark.parametrize(
    ("make", "marker", "unmarked_s"),
    [(stack, "a.done", SETTLE_S), (tree, "a.done", 10 * SETTLE_S), (slices, "2024.05_slices.done", 10 * SETTLE_S)],
)
def test_a_marker_shortens_the_wait_when_it_comes_after_the_last_change(
    watching, make: Callable[[Path], Path], marker: str, unmarked_s: float
):
    arrivals = watching({"marker": "{stem}.done", "slices": ["*_slices"]})
    path = make(arrivals.folder)
    (arrivals.folder / marker).write_bytes(b"")
    assert quiet_until_whole(arrivals) == pytest.approx(MARKED_S, abs=0.5)
    arrivals.tick()
    arrivals.hear()
    inner = path if path.is_file() else path / next(iter(os.listdir(path)))
    inner.write_bytes(b"changed after it was said to be done")
    os.utime(inner, (1e9, 1e9))  # an old modification time does not make the marker newer
    assert quiet_until_whole(arrivals) == pytest.approx(unmarked_s, abs=2.5)  # a settled one is looked at every 2 s


def test_a_marker_that_comes_before_its_acquisition_says_nothing(watching):
    """As a copy in order of name makes it, modification times kept."""
    arrivals = watching({"marker": "{name}.aaa"})
    (arrivals.folder / "b.tif.aaa").write_bytes(b"")
    (arrivals.folder / "b.tif").write_bytes(b"1")
    os.utime(arrivals.folder / "b.tif", (1e9, 1e9))
    assert quiet_until_whole(arrivals) == pytest.approx(SETTLE_S, abs=0.5)


def test_a_marked_file_is_checked_like_any_other(watching):
    arrivals = watching({"marker": "{stem}.done"})
    (arrivals.folder / "a.tif").write_bytes(b"")
    (arrivals.folder / "a.done").write_bytes(b"")
    arrivals.rest()
    assert [(r["state"], r["reason"]) for r in arrivals.rows()] == [("set_aside", "a.tif: an empty file")]


def test_a_marked_set_does_not_wait_for_the_files_that_are_missing(watching):
    arrivals = watching({"marker": "{stem}.done"})
    (arrivals.folder / "a.tif").write_bytes(b"set:b.tif\n")
    quiet_until_whole(arrivals)
    arrivals.tick()
    arrivals.hear()
    arrivals.now += 3.0
    arrivals.look()
    arrivals.hear()
    (row,) = arrivals.rows()
    assert (row["reason"], row["wait_s"]) == ("missing 1 of 2 files: b.tif", 10 * SETTLE_S)
    (arrivals.folder / "b.tif").write_bytes(b"in:a.tif\n")
    (arrivals.folder / "a.done").write_bytes(b"")
    assert quiet_until_whole(arrivals) == pytest.approx(MARKED_S, abs=0.5)


@pytest.mark.parametrize(("gap_s", "wait_s"), [(0.2, SETTLE_S), (3.0, 30.0), (60.0, 100.0)])
def test_a_fileset_is_waited_for_at_the_pace_of_its_files(watching, monkeypatch, gap_s, wait_s):
    """The change times are those of the test's clock: nobody can set those of a file."""
    arrivals = watching({})
    times = [gap_s * n for n in range(5)]
    monkeypatch.setattr("daemon.ingest.change_times_s", lambda path, members: times)
    tree(arrivals.folder)
    assert quiet_until_whole(arrivals) == pytest.approx(wait_s, abs=0.5)


def test_every_change_starts_the_wait_afresh_and_is_told(watching):
    arrivals = watching({})
    path = stack(arrivals.folder)
    for n in range(5):
        arrivals.now += 0.9 * SETTLE_S
        path.write_bytes(b"x" * (n + 2))
        arrivals.look()
    assert arrivals.settled() == []
    assert quiet_until_whole(arrivals) == pytest.approx(SETTLE_S, abs=0.5)
    told = arrivals.heard(Arriving)
    assert told[-1].why == "growing, 6 B"
    assert told[-1].quiet_since == pytest.approx(arrivals.now - SETTLE_S, abs=1.0)


@pytest.mark.parametrize("step_s", [-1e6, 1e6])
def test_a_step_of_the_wall_clock_neither_shortens_nor_prolongs_the_wait(watching, monkeypatch, step_s):
    arrivals = watching({})
    stack(arrivals.folder)
    arrivals.look()
    clock = type("Clock", (), {"monotonic": lambda: arrivals.now, "time": lambda: arrivals.now + step_s})
    monkeypatch.setattr("daemon.ingest.time", clock)
    assert quiet_until_whole(arrivals) == pytest.approx(SETTLE_S, abs=0.5)


@pytest.mark.parametrize("mtime", [-1e9, 0.0, 4e9, 1.6e10])
def test_modification_times_far_from_now_change_nothing(watching, mtime):
    arrivals = watching({})
    path = stack(arrivals.folder)
    os.utime(path, (mtime, mtime))
    assert quiet_until_whole(arrivals) == pytest.approx(SETTLE_S, abs=0.5)
    arrivals.rest()
    assert [(r["state"], r["newest"]) for r in arrivals.rows()] == [("ingested", pytest.approx(path.stat().st_mtime))]


def test_every_watched_folder_has_its_own_settings(tmp_path, watching):
    (tmp_path / "two").mkdir()
    arrivals = watching(
        {"include": ["*.tif"], "marker": "{stem}.done"},
        {"folder": "two", "settle_s": 3 * SETTLE_S, "slices": ["*"], "exclude": ["*.skip"]},
    )
    for folder in (arrivals.folder, tmp_path / "two"):
        (folder / "a.tif").write_bytes(bytes(folder))
        (folder / "a.done").write_bytes(b"")
        (folder / "a.mrc").write_bytes(b"2" + bytes(folder))
        (folder / "s").mkdir()
        for n in range(3):
            (folder / "s" / f"z{n}.tif").write_bytes(b"%d" % n + bytes(folder))
    arrivals.look()
    arrivals.now += MARKED_S
    arrivals.look()
    arrivals.hear()
    assert arrivals.settled() == ["a.tif"]
    arrivals.now += SETTLE_S
    arrivals.look()
    arrivals.hear()
    assert sorted(arrivals.settled()[1:]) == ["z0.tif", "z1.tif", "z2.tif"]
    arrivals.rest()
    told = {os.path.relpath(os.fsdecode(r["path"]), tmp_path): r["watch"] for r in arrivals.rows()}
    one = {f"in/{name}": 0 for name in ("a.tif", "s/z0.tif", "s/z1.tif", "s/z2.tif")}
    assert told == one | {"two/a.tif": 1, "two/a.mrc": 1, "two/s": 1}
