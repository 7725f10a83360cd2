"""One contract for every executor: each order ends in exactly one Finished, and nothing survives a shutdown."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from alcore.artifact import ArtifactStore
from alcore.run import key_of
from alcore.stage import Input
from daemon.executors.inline import InlineExecutor
from daemon.executors.port import ClusterSaid, Finished, Order, Places, Progress
from daemon.executors.process import THREADED, Lane, ProcessExecutor
from tests.daemon.executors.chain import STAGES, Chain, acquisition, digests
from tests.daemon.executors.clusters import RealCluster, connected

PARAMS = {"read": {}, "voxel_um": None, "patch": {"shape_px": [4, 32, 32]}, "fingerprint": None, "limit_gb": 100.0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, for all tests of this file."""
    with RealCluster(tmp_path_factory.mktemp("cluster")) as real:
        real.start_worker(real.start_worker(real.start_scheduler()))
        yield real


@pytest.fixture(params=["inline", "process", "process-long", "dask", "dask-long"])
def executor(request, places, cluster):
    yield from _made(request, places, cluster)


@pytest.fixture(params=["process", "process-long", "dask", "dask-long"])
def processes(request, places, cluster):
    """The executors that have something to kill."""
    yield from _made(request, places, cluster)


def _made(request, places, cluster):
    reports: queue.SimpleQueue = queue.SimpleQueue()
    if request.param == "inline":
        made = InlineExecutor(places, reports)
    elif request.param.startswith("dask"):
        made = connected(cluster.address, places, reports)
    else:
        made = ProcessExecutor(places, reports, [Lane(request.param.endswith("long"), 1)], nice=0)
    made.long = request.param.endswith("long")
    made.reports = reports
    yield made
    made.shutdown(0.0)


def order(executor, path: Path, job_id: int = 1, hang_s: float = 60.0) -> Order:
    inputs = {"source": [Input(path, f"file:{path.name}")]}
    return Order(
        job_id,
        1,
        key_of("volume", inputs, PARAMS),
        "volume",
        inputs,
        PARAMS,
        "cpu",
        1,
        4 << 30,
        executor.long,
        executor.long,
        hang_s,
    )


def finish(executor, timeout: float = 60.0) -> Finished:
    until = time.monotonic() + timeout
    while True:
        report = executor.reports.get(timeout=max(0.0, until - time.monotonic()))
        if isinstance(report, Finished):
            return report
        assert isinstance(report, (Progress, ClusterSaid))


def volume(path: Path, seed: int = 0) -> Path:
    tifffile.imwrite(
        path, np.random.default_rng(seed).integers(0, 255, (8, 64, 64), np.uint8), metadata={"axes": "ZYX"}
    )
    return path


def sparse(path: Path, planes: int = 4000) -> Path:
    """A large volume that takes a while to read and no disk: 1 MB planes, all but the first a hole."""
    tifffile.imwrite(path, shape=(planes, 1024, 1024), dtype=np.uint8, bigtiff=True, metadata={"axes": "ZYX"})
    with open(path, "r+b") as f:
        f.seek(-1_500_000, os.SEEK_END)  # in the last plane: behind it lie the directories
        f.write(b"\x07")
    return path


def test_ok_makes_the_artifact(executor, places, tmp_path):
    o = order(executor, volume(tmp_path / "a.tif"))
    executor.start(o)
    assert finish(executor) == Finished(1, 1, "done")
    assert ArtifactStore(places.artifacts).has(o.key)
    assert (places.job(1) / "order.json").is_file()


def test_a_bad_file_is_a_permanent_failure_with_one_line(executor, tmp_path):
    path = volume(tmp_path / "half.tif")
    path.write_bytes(path.read_bytes()[:9000])
    executor.start(order(executor, path))
    end = finish(executor)
    assert (end.outcome, end.kind) == ("failed", "unreadable")
    assert "half.tif" in end.error
    assert "\n" not in end.error


def test_the_executor_serves_again_after_a_failure(executor, tmp_path):
    executor.start(order(executor, tmp_path / "missing.tif"))
    end = finish(executor)
    assert end.outcome == "failed"
    wait_free(executor)
    executor.start(order(executor, volume(tmp_path / "b.tif"), job_id=2))
    assert finish(executor) == Finished(2, 1, "done")


def wait_free(executor) -> None:
    until = time.monotonic() + 5
    while not executor.free(executor.long, "volume"):
        assert time.monotonic() < until
        time.sleep(0.01)


def running_worker(places: Places, timeout: float = 20.0) -> psutil.Process:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        for child in psutil.Process().children(recursive=True):
            words = child.cmdline()
            if "daemon.executors.worker" in words and str(places.artifacts) in words:
                return child
        time.sleep(0.02)
    raise AssertionError("no worker came up")


def wait_for_progress(executor, timeout: float = 60.0) -> None:
    while isinstance(report := executor.reports.get(timeout=timeout), ClusterSaid):
        pass
    assert isinstance(report, Progress), report


def test_kill_9_of_the_worker_loses_one_attempt_and_nothing_else(processes, places, tmp_path):
    o = order(processes, sparse(tmp_path / "large.tif"))
    processes.start(o)
    wait_for_progress(processes)
    os.kill(running_worker(places).pid, signal.SIGKILL)
    end = finish(processes)
    assert (end.outcome, end.kind) == ("lost", "transient")
    assert "signal 9" in end.error
    assert not ArtifactStore(places.artifacts).has(o.key)
    wait_free(processes)
    processes.start(order(processes, volume(tmp_path / "b.tif"), job_id=2))
    assert finish(processes).outcome == "done"


def test_kill_ends_the_job_at_once(processes, tmp_path):
    processes.start(order(processes, sparse(tmp_path / "large.tif")))
    wait_for_progress(processes)
    began = time.monotonic()
    processes.kill(1)
    assert finish(processes).outcome == "lost"
    assert time.monotonic() - began < 5


def test_a_job_that_is_asked_to_stop_says_so_and_can_be_done_later(processes, places, tmp_path):
    path = sparse(tmp_path / "large.tif", 60)
    read = order(processes, path)
    InlineExecutor(places, processes.reports).start(read)
    assert finish(processes).outcome == "done"
    inputs = {
        "volume": [Input(ArtifactStore(places.artifacts).path(read.key), read.key)],
        "source": [Input(path, "file:large.tif")],
        "pseudo": [],
    }
    look = replace(
        read, job_id=2, key=key_of("traits", inputs, {"read": {}}), stage="traits", inputs=inputs, params={"read": {}}
    )
    processes.start(look)
    wait_for_progress(processes)
    processes.stop(2)
    assert finish(processes) == Finished(2, 1, "preempted")
    assert not ArtifactStore(places.artifacts).has(look.key)
    wait_free(processes)
    processes.start(replace(look, fence=2))
    assert finish(processes) == Finished(2, 2, "done")


def test_silence_is_a_hang_and_ends_the_worker(processes, tmp_path):
    processes.start(order(processes, sparse(tmp_path / "large.tif"), hang_s=0.05))
    end = finish(processes)
    assert end.outcome == "lost"
    assert "no sign of life" in end.error


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_shutdown_leaves_no_process(processes, places, tmp_path):
    processes.start(order(processes, sparse(tmp_path / "large.tif")))
    wait_for_progress(processes)
    worker = running_worker(places)
    began = time.monotonic()
    processes.shutdown(0.5)
    assert time.monotonic() - began < 5
    assert not psutil.pid_exists(worker.pid)


def test_shutdown_waits_longer_for_whom_patience_is_had_with(processes, tmp_path):
    asked = []
    processes.start(order(processes, sparse(tmp_path / "large.tif", 100)))
    wait_for_progress(processes)
    processes.shutdown(0.0, lambda o, fraction: not asked.append((o.job_id, fraction)))
    assert finish(processes).outcome == "done"
    assert {job_id for job_id, _ in asked} == {1}
    assert 0.0 <= asked[0][1] <= asked[-1][1] <= 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_gives_way_to_everybody(places, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    reports: queue.SimpleQueue = queue.SimpleQueue()
    made = ProcessExecutor(places, reports, [Lane(False, 1)], nice=10)
    made.long, made.reports = False, reports
    try:
        made.start(order(made, volume(tmp_path / "a.tif")))
        assert finish(made).outcome == "done"
        worker = running_worker(places)
        assert worker.nice() == min(19, os.nice(0) + 10)
        assert worker.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
        assert os.sched_getscheduler(worker.pid) == os.SCHED_BATCH
        assert worker.rlimit(psutil.RLIMIT_CORE)[0] == 0
        environment = worker.environ()
        assert {environment[name] for name in THREADED} == {"1"}
        assert "NOTIFY_SOCKET" not in environment
    finally:
        made.shutdown(0.0)


def test_a_process_that_dies_at_its_start_is_a_lost_worker(places, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = ProcessExecutor(places, reports := queue.SimpleQueue(), [Lane(False, 1)], nice=0)
    made.long, made.reports = False, reports
    try:
        made.start(order(made, volume(tmp_path / "a.tif")))
        end = finish(made)
        assert (end.outcome, end.kind) == ("lost", "transient") and "exit status 1" in end.error
    finally:
        made.shutdown(0.0)


def test_every_executor_makes_the_same_files(cluster, tmp_path):
    """From an acquisition to a checked label: digests of all files, and what is said of them; inline, in a process, on a cluster."""
    source, made = acquisition(tmp_path / "a.tif", 0), {}
    for kind in ("inline", "process", "dask"):
        places = Places(tmp_path / kind / "a", tmp_path / kind / "c", tmp_path / kind / "j")
        reports: queue.SimpleQueue = queue.SimpleQueue()
        if kind == "inline":
            executor = InlineExecutor(places, reports)
        elif kind == "process":
            executor = ProcessExecutor(places, reports, [Lane(False, 1)], nice=0)
        else:
            executor = connected(cluster.address, places, reports)
        executor.long, executor.reports = False, reports
        made[kind] = {}
        try:
            for o in Chain(places).orders(source):
                wait_free(executor)
                executor.start(o)
                assert finish(executor).outcome == "done"
                made[kind][o.stage] = digests(places, o.key)
        finally:
            executor.shutdown(0.0)
    assert tuple(made["inline"]) == STAGES
    for stage in STAGES:
        assert made["inline"][stage] == made["process"][stage] == made["dask"][stage], stage


def test_an_order_of_other_code_is_refused_and_says_to_restart(executor, places, tmp_path):
    """The files of alscope changed under a running daemon: what it would look for is not what its workers would make."""
    o = replace(order(executor, volume(tmp_path / "a.tif")), key="volume-0000")
    executor.start(o)
    end = finish(executor)
    assert (end.outcome, end.kind) == ("failed", "transient")
    assert "restart the daemon" in end.error
    assert not list(places.artifacts.rglob("manifest.json"))
