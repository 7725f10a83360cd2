"""A real training that moves between hosts of a cluster, which share the workspace and nothing else, ends as one that was left alone."""

from __future__ import annotations

import queue
import re
import time
from pathlib import Path

import pytest

from alcore.artifact import ArtifactStore, read_manifest
from alcore.run import key_of, stage
from alcore.stage import Input
from daemon.executors.port import Finished, Order, Places, Progress
from daemon.executors.process import Lane, ProcessExecutor
from tests.alcore.stages.training_bench import QUICK, READ, Bench
from tests.daemon.executors.clusters import RealCluster, connected

EPOCHS = 14
SCHEDULE = {**QUICK, "epochs": EPOCHS, "iterations": 12, "checkpoint_s": 0.0}


def training(bench: Bench, fence: int) -> Order:
    """Pre-training of a tiny nnU-Net on pseudo-labels, as the daemon would order it for the `fence`th time."""
    inputs = {"volume": [bench.volume], "source": [bench.source], "pseudo": [bench.pseudo]}
    patches = [{"volume": 0, "start": [0, 0, x], "shape": [8, 64, 48]} for x in (0, 48)]
    params = {"read": [READ], "patches": patches, "plan": "tiny", "schedule": SCHEDULE, "seed": 1}
    key = key_of("pretrain", inputs, params)
    return Order(1, fence, key, "pretrain", inputs, params, "cpu", 1, 4 << 30, True, True, 120.0)


def segmenting(bench: Bench, places: Places) -> Order:
    """Segmenting the volume with the model that was made in these places."""
    model = training(bench, 1).key
    inputs = {
        "volume": [bench.volume],
        "source": [bench.source],
        "model": [Input(ArtifactStore(places.artifacts).path(model), model)],
    }
    params = {"read": READ, "version": "M_p", "min_voxels": None}
    key = key_of("predict", inputs, params)
    return Order(2, 1, key, "predict", inputs, params, "cpu", 1, 4 << 30, True, False, 120.0)


def epoch_told(reports, host: str, after: int = 0) -> int:
    """The first epoch above `after` that is reported, with the host that it comes from."""
    until = time.monotonic() + 120
    while True:
        told = reports.get(timeout=max(0.01, until - time.monotonic()))
        assert not isinstance(told, Finished), told
        if isinstance(told, Progress) and (found := re.search(r"epoch (\d+)/", told.note)):
            assert told.note.endswith(f"on {host}") and 0.0 < told.fraction < 1.0
            if int(found[1]) > after:
                return int(found[1])


def ended(reports) -> Finished:
    """How the job left its worker."""
    until = time.monotonic() + 240
    while not isinstance(said := reports.get(timeout=max(0.01, until - time.monotonic())), Finished):
        pass
    return said


def start(executor, host: str, order: Order) -> None:
    """Hand it over once that host is there, and known to be the only one."""
    until = time.monotonic() + 60
    while [w.host for w in executor._watch.workers] != [host] or not executor.free(True, "volume"):
        assert time.monotonic() < until
        time.sleep(0.02)
    executor.start(order)


@pytest.mark.slow
def test_a_training_goes_on_elsewhere_where_it_was_stopped_and_where_its_host_died(tmp_path: Path):
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench")
    shared = Places(tmp_path / "shared" / "a", tmp_path / "shared" / "c", tmp_path / "shared" / "j")
    alone = Places(tmp_path / "alone" / "a", tmp_path / "alone" / "c", tmp_path / "alone" / "j")
    checkpoint = shared.job(1) / "scratch" / stage("pretrain").checkpoint
    reports: queue.SimpleQueue = queue.SimpleQueue()
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster") as cluster:
        cluster.start_scheduler()
        host = cluster.start_host("host-a")
        executor = connected(cluster.address, shared, reports)
        try:
            start(executor, "host-a", training(bench, 1))
            first = epoch_told(reports, "host-a", after=1)
            executor.stop(1)  # volumes came in
            assert ended(reports) == Finished(1, 1, "preempted")
            assert checkpoint.is_file()
            host.kill()
            host.wait()

            host = cluster.start_host("host-b")
            start(executor, "host-b", training(bench, 2))
            second = epoch_told(reports, "host-b")
            assert second >= first, "epochs are done again"
            second = epoch_told(reports, "host-b", after=second)
            host.kill()
            host.wait()
            end = ended(reports)
            assert (end.outcome, end.kind) == ("lost", "transient") and "host-b" in end.error

            cluster.start_host("host-c")
            start(executor, "host-c", training(bench, 3))
            third = epoch_told(reports, "host-c")
            assert EPOCHS > third >= second, "epochs are done again"
            assert ended(reports) == Finished(1, 3, "done")
            executor.start(segmenting(bench, shared))
            assert ended(reports) == Finished(2, 1, "done")
        finally:
            executor.shutdown(0.0)
    undisturbed = ProcessExecutor(alone, heard := queue.SimpleQueue(), [Lane(True, 1)], nice=0)
    try:
        undisturbed.start(order := training(bench, 1))
        assert ended(heard) == Finished(1, 1, "done")
        undisturbed.start(segmented := segmenting(bench, alone))
        assert ended(heard) == Finished(2, 1, "done")
    finally:
        undisturbed.shutdown(0.0)
    for key in (order.key, segmented.key):
        moved, whole = (read_manifest(ArtifactStore(p.artifacts).path(key)).files for p in (shared, alone))
        assert moved == whole
