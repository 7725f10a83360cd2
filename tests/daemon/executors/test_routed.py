"""Some stages on a cluster, the others at home: each job runs where its stage belongs, and neither place waits for the other."""

from __future__ import annotations

import contextlib
import queue
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from alcore.artifact import ArtifactStore
from alcore.run import STAGES, key_of
from daemon.config import Run
from daemon.executors.chosen import chosen, device_here
from daemon.executors.dask import DaskExecutor
from daemon.executors.port import ClusterSaid, Finished, Order, Places, Progress
from daemon.executors.process import ProcessExecutor
from daemon.executors.routed import RoutedExecutor
from daemon.look import reading
from daemon.policy import PRIORITY
from daemon.store.listing import demand
from daemon.store.rows import Wanted
from tests.daemon.executors.clusters import RealCluster
from tests.daemon.executors.test_cluster import hear
from tests.daemon.executors.test_contract import order, running_worker, sparse, volume
from tests.daemon.pool import Pool

NOTHING = {"n": 1, "covered": {}, "seed": 0, "strategy": "random"}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")


def choosing(job_id: int) -> Order:
    """A job of stage suggestions on an empty pool."""
    inputs = {"page": []}
    key = key_of("suggestions", inputs, NOTHING)
    return Order(job_id, 1, key, "suggestions", inputs, NOTHING, "cpu", 1, 4 << 30, False, False, 60.0)


def test_each_stage_runs_where_it_belongs(places, tmp_path):
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster") as cluster:
        run = Run(stages={"volume": "dask"}, device="cpu", address=cluster.address)
        executor = chosen(run, places, reports := queue.SimpleQueue())
        executor.long = False
        try:
            assert isinstance(executor, RoutedExecutor)
            assert set.union(*map(set, executor.groups)) == set(STAGES)
            assert executor.holds("finetune") and not executor.holds("volume")
            # no cluster yet: work at home goes on, that of the cluster waits
            assert executor.free(False, "suggestions") and not executor.free(False, "volume")
            executor.start(choosing(7))
            assert hear(reports, Finished) == Finished(7, 1, "done")
            assert running_worker(places).parent().pid == psutil.Process().pid
            cluster.start_worker(cluster.start_scheduler())
            hear(reports, ClusterSaid, lambda said: not said.trouble)
            executor.start(o := order(executor, sparse(tmp_path / "large.tif"), job_id=8))
            assert " on " in f" {hear(reports, Progress).note}"
            assert executor.free(False, "suggestions")
            executor.stop(9)  # nobody's
            executor.kill(8)
            assert hear(reports, Finished).job_id == 8
            assert not ArtifactStore(places.artifacts).has(o.key)
            executor.start(order(executor, volume(tmp_path / "b.tif"), job_id=10))
            assert hear(reports, Finished) == Finished(10, 1, "done")
            assert executor.dead() == []
        finally:
            executor.shutdown(0.0)
    assert executor.dead() != [], "neither serves any more"


def test_without_such_stages_there_is_one_executor(places, monkeypatch):
    monkeypatch.setattr("daemon.executors.cluster.CONNECT_S", 0.2)
    reports: queue.SimpleQueue = queue.SimpleQueue()
    for run, kind in (
        (Run(), ProcessExecutor),
        (Run(executor="dask", address="tcp://127.0.0.1:1", device="cpu"), DaskExecutor),
        (Run(stages=dict.fromkeys(STAGES, "dask"), address="tcp://127.0.0.1:1", device="cpu"), DaskExecutor),
        (Run(stages={"volume": "process"}), ProcessExecutor),
    ):
        executor = chosen(run, places, reports)
        assert type(executor) is kind
        executor.shutdown(0.0)


def test_a_machine_without_a_gpu_computes_beside_workers_that_have_one(monkeypatch):
    monkeypatch.setattr("daemon.executors.chosen.has_cuda", lambda: False)
    run = Run(stages={"finetune": "dask"}, address="tcp://a:1", device="cuda")
    assert device_here(run) == "cpu"
    monkeypatch.setattr("daemon.executors.chosen.has_cuda", lambda: True)
    assert device_here(run) == "cuda"
    assert device_here(replaced(run, device="cpu")) == "cpu"


def replaced(run: Run, **changes: object) -> Run:
    return run.model_copy(update=changes)


def wanted(stage: str, number: int, priority: str, long: bool) -> Wanted:
    return Wanted(stage, f"s:{stage}:{number}", {}, {"n": number}, PRIORITY[priority], "", long=long)


def test_workers_are_wanted_for_what_may_begin(tmp_path):
    """Not for a training outside its hours, nor for anything that waits during a pause; what runs needs its worker in any case."""
    away = {"label", "finetune", "predict"}
    with contextlib.closing(Pool(tmp_path)) as pool:
        jobs, now = pool.store.jobs, pool.now
        pool.store.state.started(1, "0.1.0", now)
        for number, (stage, long) in enumerate([("label", False), ("finetune", True), ("predict", True)]):
            jobs.want(wanted(stage, number, "label", long), now)
        jobs.want(wanted("traits", 9, "traits", False), now)

        def asked(train: bool = True) -> tuple[int, int]:
            with reading(pool.workspace.root) as db:
                return demand(db, away, lambda stage, long: train or stage != "finetune", now)

        assert asked() == (2, 1)
        assert asked(train=False) == (1, 1)
        running = next(job for job in jobs.ready(9) if job.stage == "predict")
        jobs.claim(running.id, "me", now)
        pool.store.state.pause(now + 100)
        assert asked() == (1, 0)
        pool.store.state.pause(now - 1)
        assert asked() == (2, 1)


def test_jobs_that_wait_for_a_cluster_hold_up_nobody_at_home(tmp_path):
    """More of them, and more urgent ones, than are looked at in one turn; and nothing at home stops to make room for them."""
    away = {"label", "predict"}
    with contextlib.closing(Pool(tmp_path)) as pool:
        pool.executor.groups = (frozenset(STAGES) - away, frozenset(away))
        pool.executor.free = lambda long, stage: stage not in away
        pool.executor.holds = lambda stage: stage not in away
        jobs, dispatch = pool.store.jobs, pool.engine.dispatch
        for number in range(100):
            jobs.want(wanted("label", number, "label", False), pool.now)
            jobs.want(wanted("predict", number, "label", True), pool.now)
        jobs.want(wanted("traits", 0, "traits", False), pool.now)
        jobs.want(wanted("finetune", 0, "finetune", True), pool.now)
        dispatch.start_what_is_ready(pool.now)
        assert [o.stage for o in pool.executor.orders] == ["traits", "finetune"]
        dispatch.start_what_is_ready(pool.now)
        assert pool.executor.stopped == [], "a training at home is in nobody's way"
        # what a person waits for on the cluster lets nothing at home go on that stands still for the microscope
        assert not dispatch._somebody_waits()
        pool.executor.free = lambda long, stage: False
        jobs.want(replace(wanted("encoder", 0, "label", True)), pool.now)
        dispatch.start_what_is_ready(pool.now)
        assert len(pool.executor.stopped) == 1 and dispatch._somebody_waits()
