"""A job that stands still: nothing of it is lost, it is not taken for dead, and it hears when it is to stop."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import psutil
import pytest

from alcore.run import STAGES, stage
from daemon.executors.perform import HELD, HELD_SAY_S
from daemon.executors.port import Places, Progress
from daemon.executors.process import Lane, ProcessExecutor
from tests.daemon.executors.test_contract import finish, order, running_worker, sparse, wait_for_progress


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")


@pytest.fixture
def executor(places):
    made = ProcessExecutor(places, reports := queue.SimpleQueue(), [Lane(True, 1)], nice=0)
    made.long, made.reports = True, reports
    yield made
    made.shutdown(0.0)


def stands_still(executor) -> Progress:
    """The first sign of life of a job that stands still."""
    until = time.monotonic() + 20
    while True:
        report = executor.reports.get(timeout=max(0.0, until - time.monotonic()))
        assert isinstance(report, Progress), report
        if report.note == HELD:
            return report


def test_the_sign_of_life_comes_in_time_for_every_stage():
    assert all(stage(name).hang_s > 3 * HELD_SAY_S for name in STAGES)


def test_it_takes_no_processor_is_not_taken_for_dead_and_goes_on_where_it_was(executor, places, tmp_path):
    executor.start(order(executor, sparse(tmp_path / "large.tif", 200)))
    wait_for_progress(executor)
    executor.hold(1, True)
    executor.hold(1, True)
    before = stands_still(executor).fraction
    worker = running_worker(places)
    used, began = sum(worker.cpu_times()[:2]), time.monotonic()
    assert stands_still(executor).fraction == before
    assert sum(worker.cpu_times()[:2]) - used < 0.1 * (time.monotonic() - began)
    executor.hold(1, False)
    assert finish(executor).outcome == "done"


@pytest.mark.parametrize("how", ["kill", "shutdown"])
def test_it_can_be_ended_while_it_stands_still(executor, places, tmp_path, how):
    executor.start(order(executor, sparse(tmp_path / "large.tif")))
    wait_for_progress(executor)
    executor.hold(1, True)
    stands_still(executor)
    worker = running_worker(places)
    executor.kill(1) if how == "kill" else executor.shutdown(0.2)
    assert finish(executor).outcome == "lost"
    assert not psutil.pid_exists(worker.pid)


def test_what_is_said_before_a_worker_is_there_counts_a_stop_is_heard_and_the_next_job_is_free(executor, tmp_path):
    """A volume has no checkpoint: asked to stop it goes on to its end."""
    executor.start(order(executor, sparse(tmp_path / "large.tif", 200)))
    executor.hold(1, True)
    stands_still(executor)
    executor.stop(1)
    assert finish(executor).outcome == "done"
    while not executor.free(True, "volume"):
        time.sleep(0.01)
    executor.start(order(executor, sparse(tmp_path / "other.tif", 20), job_id=2))
    assert finish(executor).outcome == "done"
