"""Several daemons on one cluster; workers and file systems that do not answer. Nobody waits behind another for long, nothing hangs."""

from __future__ import annotations

import contextlib
import errno
import queue
import time
from pathlib import Path

import pytest

from alcore.artifact import ArtifactStore
from daemon.executors import dask, watch
from daemon.executors.dask import DaskExecutor
from daemon.executors.port import ClusterSaid, Finished, Places, Progress
from tests.daemon.executors.clusters import RealCluster, connected
from tests.daemon.executors.test_cluster import hear, prepared
from tests.daemon.executors.test_contract import order, sparse, volume

HANGS = """
import os
from daemon.executors import remote
rename = os.rename
def hang(old, new):
    if "given-" in str(old):
        import time
        time.sleep(3600)
    rename(old, new)
os.rename = hang
"""
SILENT = """
from daemon.executors import remote
def about():
    import time
    time.sleep(3600)
remote.about = about
"""


def waits(good, timeout: float = 30.0) -> None:
    until = time.monotonic() + timeout
    while not good():
        assert time.monotonic() < until
        time.sleep(0.05)


def everything(reports: queue.SimpleQueue) -> list:
    return [reports.get() for _ in range(reports.qsize())]


@pytest.fixture
def daemons(tmp_path: Path):
    """Executors of daemons with a workspace each; all their jobs are long ones."""
    made: list[DaskExecutor] = []

    def another(cluster: RealCluster, gpu: bool) -> DaskExecutor:
        root = tmp_path / f"daemon-{len(made)}"
        places = Places(root / "artifacts", root / "cache", root / "jobs")
        executor = prepared(connected(cluster.address, places, reports := queue.SimpleQueue(), gpu), reports)
        executor.long = True
        made.append(executor)
        return executor

    yield another
    for executor in made:
        executor.shutdown(0.0)


@pytest.mark.parametrize("gpu", [True, False])
def test_what_another_daemon_runs_counts(bare, daemons, tmp_path, gpu):
    """A long job of one takes the GPU, or the long job that a worker without GPUs takes; the other sends its own elsewhere."""
    resources = ("--resources", "GPU=1") if gpu else ()
    bare.start_worker(bare.address, *resources)
    one, two = daemons(bare, gpu), daemons(bare, gpu)
    waits(lambda: two.free(True, "volume"))
    one.start(order(one, sparse(tmp_path / "large.tif")))
    hear(one.reports, Progress)
    waits(lambda: not two.free(True, "volume"))
    assert two.free(False, "volume"), "beside it there is room for a short one"
    bare.start_worker(bare.address, *resources)
    waits(lambda: two.free(True, "volume"))
    two.start(order(two, volume(tmp_path / "small.tif")))
    assert hear(two.reports, Finished) == Finished(1, 1, "done")
    assert len(one._jobs) == 1


def test_a_daemon_has_no_more_long_jobs_than_its_share(bare, places, tmp_path):
    bare.start_worker(bare.start_worker(bare.address))
    executor = DaskExecutor(places, reports := queue.SimpleQueue(), bare.address, False, 1, 0, most_long=1)
    executor.long, executor.reports = True, reports
    try:
        waits(lambda: len(executor._able()) == 2 and executor.free(True, "volume"))
        executor.start(order(executor, sparse(tmp_path / "large.tif")))
        hear(reports, Progress)
        assert not executor.free(True, "volume") and executor.free(False, "volume")
    finally:
        executor.shutdown(0.0)


def test_workers_are_missed_only_while_a_job_waits_for_one(bare, places, monkeypatch):
    """Where `alscope cluster` brings them: a job that was cancelled, or a pause, ends the waiting."""
    monkeypatch.setattr(watch, "COMES_WITHIN_S", 2.0)
    monkeypatch.setattr(watch, "ASKS_WITHIN_S", 1.5)
    executor = DaskExecutor(places, reports := queue.SimpleQueue(), bare.address, False, 1, 0, elastic=True)
    try:
        waits(lambda: executor._watch.cluster is not None)
        executor.free(False, "volume")  # once, and never again
        time.sleep(4)
        assert [s.trouble for s in everything(reports) if isinstance(s, ClusterSaid)] == [""]
        until = time.monotonic() + 4
        while time.monotonic() < until:
            executor.free(False, "volume")
            time.sleep(0.2)
        assert "has no workers" in everything(reports)[-1].trouble
        time.sleep(3)
        assert everything(reports)[-1].trouble == ""
    finally:
        executor.shutdown(0.0)


@pytest.mark.parametrize("gpu", [True, False])
def test_who_was_slower_by_a_moment_gets_its_job_back(bare, daemons, tmp_path, gpu):
    """Both saw the worker free. No attempt is spent, and the job may go elsewhere."""
    bare.start_worker(bare.address, *(("--resources", "GPU=1") if gpu else ()))
    one, two = daemons(bare, gpu), daemons(bare, gpu)
    waits(lambda: one.free(True, "volume") and two.free(True, "volume"))
    path = sparse(tmp_path / "large.tif")
    one.start(order(one, path))
    two.start(o := order(two, path))  # at once, before either has looked again
    ends = []
    until = time.monotonic() + 30
    while not ends and time.monotonic() < until:
        for executor in (one, two):
            with contextlib.suppress(queue.Empty):
                while True:
                    said = executor.reports.get(timeout=0.05)
                    ends += [said] if isinstance(said, Finished) else []
    (end,) = ends
    assert (end.outcome, end.kind) == ("lost", "cluster") and "another daemon" in end.error
    assert len(one._jobs) + len(two._jobs) == 1, "the other one's goes on"
    assert not ArtifactStore(two._places.artifacts).has(o.key)


def test_a_worker_that_does_not_begin_is_given_up(bare, places, tmp_path, monkeypatch):
    """As where its file system hangs. It gets nothing for a while, and another one takes the job."""
    monkeypatch.setattr(dask, "OUTRUN_S", 0.5)
    monkeypatch.setattr(dask, "BEGINS_WITHIN_S", 2.0)
    (tmp_path / "hangs.py").write_text(HANGS)
    bare.start_worker(bare.address, "--preload", str(tmp_path / "hangs.py"))
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    try:
        executor.start(order(executor, volume(tmp_path / "a.tif"), job_id=1))
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "cluster") and "did not begin with a job within 2 s" in end.error
        hear(reports, ClusterSaid, lambda s: "no worker can take jobs" in s.trouble and "file system" in s.trouble)
        assert not executor.free(False, "volume")
        bare.start_worker(bare.address)
        waits(lambda: executor.free(False, "volume"))
        executor.start(order(executor, volume(tmp_path / "a.tif"), job_id=2))
        assert hear(reports, Finished) == Finished(2, 1, "done")
    finally:
        executor.shutdown(0.0)


def test_a_worker_that_does_not_answer_holds_nobody_up(bare, places, tmp_path):
    (tmp_path / "silent.py").write_text(SILENT)
    bare.start_worker(bare.address)
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    try:
        bare.start_worker(bare.address, "--preload", str(tmp_path / "silent.py"))
        hear(reports, ClusterSaid, lambda s: "does not answer (TimeoutError)" in s.trouble)
        for number in range(1, 4):
            began = time.monotonic()
            executor.start(order(executor, volume(tmp_path / f"{number}.tif"), job_id=number))
            assert hear(reports, Finished) == Finished(number, 1, "done")
            assert time.monotonic() - began < 9, "it was waited for"
            time.sleep(2)
    finally:
        executor.shutdown(0.0)


def test_a_file_system_that_fails_for_a_moment_costs_no_job_and_not_the_executor(bare, places, tmp_path, monkeypatch):
    bare.start_worker(bare.address)
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    failed = []

    def stale(store: ArtifactStore, key: str, has=ArtifactStore.has) -> bool:
        if len(failed) < 3:
            failed.append(key)
            raise OSError(errno.ESTALE, "Stale file handle")
        return has(store, key)

    monkeypatch.setattr(ArtifactStore, "has", stale)
    try:
        executor.start(order(executor, volume(tmp_path / "a.tif")))
        assert hear(reports, Finished) == Finished(1, 1, "done")
        assert len(failed) == 3 and executor.dead() == []
    finally:
        executor.shutdown(0.0)


def test_a_folder_that_may_not_be_written_there_is_said(bare, places, tmp_path):
    """As for a worker that another user started."""
    (tmp_path / "other.py").write_text(
        HANGS.replace("import time", "").replace("time.sleep(3600)", "raise PermissionError(13, 'Permission denied')")
    )
    bare.start_worker(bare.address, "--preload", str(tmp_path / "other.py"))
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    try:
        executor.start(order(executor, volume(tmp_path / "a.tif")))
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "cluster") and "start it as the user of the daemon" in end.error
    finally:
        executor.shutdown(0.0)
