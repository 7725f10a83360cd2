"""What may become of a cluster: no workers, others than wanted, gone and back, killed; each is said, and nothing waits for ever."""

from __future__ import annotations

import queue
import time
from dataclasses import replace

from alcore.artifact import ArtifactStore
from daemon.executors.dask import DaskExecutor
from daemon.executors.port import ClusterSaid, Finished, Places, Progress
from tests.daemon.executors.clusters import connected
from tests.daemon.executors.test_contract import order, sparse, volume


def prepared(executor, reports):
    executor.long, executor.reports = False, reports
    return executor


def hear(reports, kind, good=lambda said: True, timeout: float = 60.0):
    """Wait for a report of a kind."""
    until = time.monotonic() + timeout
    while True:
        said = reports.get(timeout=max(0.01, until - time.monotonic()))
        if isinstance(said, kind) and good(said):
            return said


def test_what_cannot_work_is_said_and_gets_no_jobs(bare, places, tmp_path):
    """No workers; then one of another alscope; then one without a GPU where one is wanted; then a good one."""
    reports: queue.SimpleQueue = queue.SimpleQueue()
    executor = prepared(DaskExecutor(places, reports, bare.address, False, 1, 0), reports)
    gpus = DaskExecutor(places, heard := queue.SimpleQueue(), bare.address, True, 1, 0)
    try:
        assert "has no workers" in hear(reports, ClusterSaid).trouble and not executor.free(False, "volume")
        (tmp_path / "old.py").write_text("import alcore\nalcore.__version__ = '0.0.1'\n")
        bare.start_worker(bare.address, "--preload", str(tmp_path / "old.py"))
        said = hear(reports, ClusterSaid, lambda s: "0.0.1" in s.trouble).trouble
        assert (
            "no worker can take jobs" in said
            and "alscope 0.0.1, the daemon" in said
            and not executor.free(False, "volume")
        )
        bare.start_worker(bare.address)
        assert hear(reports, ClusterSaid, lambda s: s.trouble.startswith("not used")) and executor.free(False, "volume")
        assert hear(heard, ClusterSaid, lambda s: "--resources GPU=1" in s.trouble) and not gpus.free(True, "volume")
        bare.start_worker(bare.address, "--resources", "GPU=1")
        hear(heard, ClusterSaid, lambda s: s.trouble.startswith("not used"))
        assert gpus.free(True, "volume") and gpus.free(False, "volume")
        gpus.long = True
        gpus.start(order(gpus, volume(tmp_path / "a.tif")))
        assert not gpus.free(True, "volume"), "its GPU is taken"
        assert hear(heard, Finished) == Finished(1, 1, "done")
    finally:
        executor.shutdown(0.0)
        gpus.shutdown(0.0)


def test_a_worker_that_is_killed_costs_its_job_one_attempt(bare, places, tmp_path):
    bare.start_worker(bare.address)
    reports: queue.SimpleQueue = queue.SimpleQueue()
    executor = prepared(connected(bare.address, places, reports), reports)
    try:
        executor.start(o := order(executor, sparse(tmp_path / "large.tif")))
        hear(reports, Progress)
        bare.start_worker(bare.address)  # the scheduler would give the task to it by itself
        hear(reports, ClusterSaid)
        bare.workers[0].kill()
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "transient") and "lost" in end.error
        assert not ArtifactStore(places.artifacts).has(o.key)
        executor.start(order(executor, volume(tmp_path / "b.tif"), job_id=2))
        assert hear(reports, Finished) == Finished(2, 1, "done")
    finally:
        executor.shutdown(0.0)


def test_a_process_that_dies_at_its_start_is_a_lost_worker(bare, places, tmp_path):
    (tmp_path / "broken.py").write_text("import sys\nsys.executable = '/bin/false'\n")
    bare.start_worker(bare.address, "--preload", str(tmp_path / "broken.py"))
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    try:
        executor.start(order(executor, volume(tmp_path / "a.tif")))
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "transient") and "exit status 1" in end.error
    finally:
        executor.shutdown(0.0)


def test_a_worker_that_was_upgraded_since_it_was_asked_refuses_and_no_attempt_is_spent(
    bare, places, tmp_path, monkeypatch
):
    bare.start_worker(bare.address)
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    monkeypatch.setattr("daemon.executors.dask.remote.versions", lambda: {"alscope": "9.9", "Python": "3.11"})
    try:
        executor.start(o := order(executor, volume(tmp_path / "a.tif")))
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "cluster") and "the daemon 9.9" in end.error
        assert not ArtifactStore(places.artifacts).has(o.key)
        monkeypatch.undo()
        executor.start(replace(o, fence=2))
        assert hear(reports, Finished) == Finished(1, 2, "done"), "it was not begun, and nothing of it is in the way"
    finally:
        executor.shutdown(0.0)


def test_a_cluster_that_is_gone_costs_nothing_and_is_found_again(bare, places, tmp_path):
    bare.start_worker(bare.address)
    reports: queue.SimpleQueue = queue.SimpleQueue()
    executor = prepared(connected(bare.address, places, reports), reports)
    try:
        executor.start(order(executor, sparse(tmp_path / "large.tif")))
        hear(reports, Progress)
        bare.scheduler.kill()
        bare.scheduler.wait()
        assert hear(reports, Finished).kind == "cluster"
        assert "no scheduler can be reached" in hear(reports, ClusterSaid, lambda s: s.trouble).trouble
        assert not executor.free(False, "volume")
        bare.start_worker(bare.start_scheduler())
        assert hear(reports, ClusterSaid, lambda s: not s.trouble)
        executor.start(order(executor, volume(tmp_path / "b.tif"), job_id=2))
        assert hear(reports, Finished) == Finished(2, 1, "done")
    finally:
        executor.shutdown(0.0)


def test_a_worker_that_sees_another_folder_says_so(bare, places, tmp_path):
    """As on a host where the workspace is not mounted: the mark of the job is not there."""
    bare.start_worker(bare.address)
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    executor._places = Places(tmp_path / "x" / "artifacts", tmp_path / "x" / "cache", tmp_path / "x" / "jobs")
    try:
        executor.start(order(executor, volume(tmp_path / "a.tif")))
        end = hear(reports, Finished)
        assert (end.outcome, end.kind) == ("lost", "cluster") and "mount the workspace there" in end.error
    finally:
        executor.shutdown(0.0)


def test_a_daemon_that_goes_leaves_no_job_behind(bare, places, tmp_path):
    """The client is gone without a word: the worker ends what nobody wants any more."""
    import psutil

    bare.start_worker(bare.address)
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    executor.start(order(executor, sparse(tmp_path / "large.tif")))
    hear(reports, Progress)
    children = psutil.Process(bare.workers[0].pid).children()
    assert len(children) == 1
    executor._watch.close()
    psutil.wait_procs(children, timeout=10)
    assert not children[0].is_running()


def test_two_daemons_share_a_cluster(bare, tmp_path):
    """Equal job numbers and paths of files; each hears of its own job, and makes its own artifact."""
    bare.start_worker(bare.address)
    made = []
    for name in ("one", "two"):
        places = Places(tmp_path / name / "a", tmp_path / name / "c", tmp_path / name / "j")
        made.append((places, prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)))
    try:
        orders = [order(executor, volume(tmp_path / "a.tif")) for _, executor in made]
        for (_, executor), o in zip(made, orders, strict=True):
            executor.start(o)
        for (places, executor), o in zip(made, orders, strict=True):
            assert hear(executor.reports, Finished) == Finished(1, 1, "done")
            assert ArtifactStore(places.artifacts).has(o.key)
    finally:
        for _, executor in made:
            executor.shutdown(0.0)


def test_a_short_job_is_not_sent_behind_long_ones(bare, places, tmp_path):
    """Two workers of two slots: each takes one long job, a third one waits, and short ones begin at once."""
    bare.start_worker(bare.start_worker(bare.address))
    executor = prepared(connected(bare.address, places, reports := queue.SimpleQueue()), reports)
    try:
        hear(reports, ClusterSaid)
        executor.long, path = True, sparse(tmp_path / "large.tif")
        for number in (1, 2):
            while not executor.free(True, "volume"):
                time.sleep(0.05)
            executor.start(order(executor, path, job_id=number))
            hear(reports, Progress, lambda told, number=number: told.job_id == number)
        assert not executor.free(True, "volume")
        assert len({job.at for job in executor._jobs.values()}) == 2
        executor.long = False
        executor.start(order(executor, volume(tmp_path / "b.tif"), job_id=3))
        assert hear(reports, Finished) == Finished(3, 1, "done")
    finally:
        executor.shutdown(0.0)
