"""The acquisition first: heavy work gives way while files grow, says so, and is never held up for ever."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import commands
from daemon.arrival import Arriving
from daemon.courtesy import ACTIVE_S, FRESH_S, TURN_S, Courtesy
from daemon.executors.port import Finished
from daemon.policy import PRIORITY, TRAINING, is_heavy
from daemon.status import status
from daemon.store.report import snapshot
from daemon.store.rows import JobRow
from tests.daemon.play import Stage
from tests.daemon.scripted import results

MOST_S = 600.0


@given(st.lists(st.tuples(st.floats(0.1, 60.0), st.booleans()), min_size=1, max_size=300))
def test_nobody_waits_longer_than_the_bound_and_nobody_is_stopped_twice_within_a_turn(steps):
    courtesy, now, begun, ended = Courtesy(), 1000.0, None, None
    for step, growing in steps:
        now += step
        if courtesy.gives_way(growing, MOST_S, now):
            if begun is None:
                begun = now
                assert growing
                assert ended is None or now - ended >= TURN_S - 1e-6
            assert now - begun < MOST_S
        elif begun is not None:
            begun, ended = None, now


def test_it_begins_at_once_and_ends_when_nothing_grows():
    courtesy = Courtesy()
    assert not courtesy.gives_way(False, MOST_S, 0.0)
    assert courtesy.gives_way(True, MOST_S, 1.0)
    assert courtesy.gives_way(True, MOST_S, 2.0)
    assert not courtesy.gives_way(False, MOST_S, 3.0)
    assert not courtesy.gives_way(True, MOST_S, 2.0 + TURN_S)
    assert courtesy.gives_way(True, MOST_S, 3.0 + TURN_S)


@pytest.mark.parametrize("step", [-1e6, 1e6])
def test_a_clock_that_is_set_holds_nothing_up(step):
    courtesy = Courtesy()
    courtesy.gives_way(True, MOST_S, 2e6)
    assert not courtesy.gives_way(True, MOST_S, 2e6 + step)
    assert courtesy.gives_way(True, MOST_S, 2e6 + step + TURN_S)
    courtesy.gives_way(False, MOST_S, 2e6 + step + TURN_S + 1.0)
    assert courtesy.gives_way(True, MOST_S, 2e6 - step)  # the turn does not outlast the step either


def test_only_long_work_that_nobody_waits_for_is_heavy():
    assert is_heavy(True, PRIORITY["finetune"]) and is_heavy(True, PRIORITY["predict"])
    assert not is_heavy(False, PRIORITY["volume"])
    assert not is_heavy(True, PRIORITY["suggestions"])


class Microscope:
    """A file that somebody writes."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.path, self.size = stage, os.fsencode(stage.folder / "next.tif"), 0

    def write(self, why: str = "growing, 3 B", age_s: float = 60.0) -> None:
        """age_s: of the file's last change, by its own time."""
        self.size += 1
        now = self.stage.now
        self.stage.engine.handle(Arriving(self.path, 0, self.size, "", now - age_s, why, now, 10.0))


def trained(root: Path, **run: object) -> Stage:
    """Until a training runs that goes on until it is asked to stop."""
    stage = Stage(
        root,
        lambda order: None if order.stage == "pretrain" else results(order),
        run={"min_free_gb": 0.0} | run,
        encoder={"size": "descriptor"},
    )
    stage.drop("a.tif", b"one")
    for _ in range(12):
        stage.turn()
    return stage


def test_a_training_stops_at_its_checkpoint_while_a_file_grows_and_goes_on_afterwards(tmp_path: Path) -> None:
    stage = trained(tmp_path)
    (job,) = stage.store.jobs.running()
    microscope = Microscope(stage)
    microscope.write()
    stage.turn()
    assert stage.executor.stopped == [job.id]
    stage.engine.handle(Finished(job.id, job.fence, "preempted"))
    assert "run.yield_to_acquisition" in stage.store.jobs.last_words(job.id)
    for _ in range(10):
        microscope.write()
        stage.turn()
    assert stage.store.jobs.running() == []
    stage.engine.pulse()
    shot = snapshot(stage.workspace.root, stage.now)
    daemon = replace(shot.daemon, state="running", note=stage.engine.waits_for)  # here nobody holds the lock
    shot = replace(shot, daemon=daemon)
    (line,) = (t.plain for t in status(shot, stage.workspace.root, 80) if t.plain.startswith("now"))
    assert "waiting: files are arriving" in line
    stage.drop("b.tif", b"two")  # what is short is not held up
    stage.turn()
    assert stage.stages()[-1] == "volume"
    for _ in range(int(ACTIVE_S) + 1):
        stage.turn()
    assert [j.id for j in stage.store.jobs.running()] == [job.id]
    stage.store.close()


def test_it_has_its_turn_although_the_file_grows_for_ever(tmp_path: Path) -> None:
    stage = trained(tmp_path, yield_at_most_min=1.0)
    (job,) = stage.store.jobs.running()
    microscope = Microscope(stage)
    ran = 0
    for _ in range(72):
        stage.now += 4
        microscope.write()
        stage.turn()
        running = stage.store.jobs.running()
        if stage.executor.stopped and running:
            stage.executor.stopped.clear()
            stage.engine.handle(Finished(job.id, running[0].fence, "preempted"))
        ran += bool(running)
    assert ran == pytest.approx(72 * 2 / 3, abs=8)  # a minute of waiting, then a turn of two
    stage.store.close()


def test_it_knows_what_the_scan_calls_growth(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for why, grows in (
        ("growing, 3 B", True),
        ("still open for writing", True),
        ("missing 1 of 2 files: b.tif", True),
        ("3 B", False),
    ):
        Microscope(stage).write(why)
        assert stage.store.sources.is_growing(stage.now - ACTIVE_S, stage.now - FRESH_S) is grows
        assert not stage.store.sources.is_growing(stage.now + 1, stage.now + 1)
    stage.store.close()


@pytest.mark.parametrize(
    ("rule", "why", "stops"),
    [
        ("off", "growing, 3 B", False),
        ("growing", "3 B", False),
        ("arriving", "3 B", True),
        ("arriving", "growing", True),
    ],
)
def test_the_rule_is_that_of_config_toml(tmp_path: Path, rule: str, why: str, stops: bool) -> None:
    stage = trained(tmp_path, yield_to_acquisition=rule)
    Microscope(stage).write(why)
    stage.turn()
    assert bool(stage.executor.stopped) is stops
    stage.store.close()


def held_up(root: Path, **run: object) -> tuple[Stage, JobRow]:
    """A training runs where jobs can stand still."""
    stage = trained(root, **run)
    stage.executor.can_hold = True
    (job,) = stage.store.jobs.running()
    return stage, job


def test_where_jobs_can_stand_still_nothing_is_stopped_and_it_goes_on_at_once(tmp_path: Path) -> None:
    stage, job = held_up(tmp_path)
    microscope = Microscope(stage)
    for _ in range(3):  # no turn of two minutes between: it costs nothing to stand still
        microscope.write()
        stage.turn()
        assert stage.executor.held == {job.id: True}
        assert "files are arriving" in stage.engine.dispatch.waits_for(stage.now)
        for _ in range(int(ACTIVE_S) + 1):
            stage.turn()
        assert stage.executor.held == {job.id: False}
        assert stage.engine.dispatch.waits_for(stage.now) == ""
    assert stage.executor.stopped == []
    assert [j.id for j in stage.store.jobs.running()] == [job.id]
    stage.store.close()


def test_what_stands_still_has_its_turn_although_the_file_grows_for_ever(tmp_path: Path) -> None:
    stage, job = held_up(tmp_path, yield_at_most_min=1.0)
    microscope, went_on = Microscope(stage), 0
    for _ in range(72):
        stage.now += 4
        microscope.write()
        stage.turn()
        went_on += not stage.executor.held[job.id]
    assert went_on == pytest.approx(72 * 2 / 3, abs=3)
    stage.store.close()


def test_it_gives_way_to_the_first_block_of_a_file_and_not_to_one_that_was_copied_here_whole(tmp_path: Path) -> None:
    stage, job = held_up(tmp_path)
    microscope = Microscope(stage)
    microscope.write("3 B", age_s=60.0)
    stage.turn()
    assert stage.executor.held == {job.id: False}
    microscope.write("3 B", age_s=0.1)
    stage.turn()
    assert stage.executor.held == {job.id: True}
    for _ in range(int(FRESH_S) + 1):
        stage.turn()
    assert stage.executor.held == {job.id: False}  # it did not grow since
    stage.store.close()


def test_nobody_waits_for_suggestions_because_a_training_stands_still_in_their_place(tmp_path: Path) -> None:
    stage, job = held_up(tmp_path)
    microscope = Microscope(stage)
    microscope.write()
    stage.turn()
    assert stage.executor.held == {job.id: True}
    urgent = replace(stage.store.jobs.get(job.id), priority=PRIORITY["suggestions"])
    assert urgent.long
    stage.engine.dispatch.store.jobs.ready, before = (
        lambda n, long, stages=None: [urgent] if long else [],
        stage.store.jobs.ready,
    )
    stage.executor.slots[True] = 0
    microscope.write()
    stage.engine.tick()
    assert stage.executor.held == {job.id: False}
    stage.store.jobs.ready = before
    stage.store.close()


def test_a_pause_lets_heavy_work_stand_still_and_its_end_lets_it_go_on(tmp_path: Path) -> None:
    stage, job = held_up(tmp_path)
    stage.store.state.pause(stage.now + 100)
    stage.turn()
    assert stage.executor.held == {job.id: True}
    stage.now += 100
    stage.turn()
    assert stage.executor.held == {job.id: False}
    assert stage.executor.stopped == []
    stage.store.close()


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ((*TRAINING, "predict"), "training and segmenting stand still"),
        ((), "running jobs finish"),
        (("predict",), "training and segmenting stand still here, and finish on the cluster"),
    ],
)
def test_a_pause_says_what_becomes_of_what_runs(tmp_path: Path, holds: tuple[str, ...], words: str) -> None:
    stage = trained(tmp_path)
    stage.executor.holds = holds.__contains__
    assert commands.VERBS["pause"](stage.engine, {}, stage.now) == f"paused: nothing new is started, {words}"
    stage.store.close()
