"""A worker of the cluster is killed while it has a job of each stage: an attempt is lost, and what is made then is what it always is."""

from __future__ import annotations

import queue
import time
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.executors.dask import DaskExecutor
from daemon.executors.inline import InlineExecutor
from daemon.executors.port import Finished, Order, Places
from daemon.executors.remote import taken
from tests.daemon.executors.chain import STAGES, Chain, acquisition, digests
from tests.daemon.executors.clusters import RealCluster, connected
from tests.daemon.executors.test_cluster import hear


def killed(executor: DaskExecutor, cluster: RealCluster, reports: queue.SimpleQueue, order: Order) -> Finished:
    """How a job ended whose worker was killed when it had just taken it. There is another worker then."""
    mark, until = taken(executor._places.job(order.job_id), order.fence), time.monotonic() + 30
    executor.start(order)
    while not mark.exists():
        assert time.monotonic() < until
    cluster.workers[-1].kill()
    end = hear(reports, Finished)
    cluster.workers[-1].wait()
    cluster.start_worker(cluster.address)
    return end


@pytest.mark.timeout(300)
def test_the_same_is_made_after_a_kill_in_each_stage(bare, tmp_path: Path):
    source = acquisition(tmp_path / "a.tif", 0)
    home, away = (Places(tmp_path / w / "a", tmp_path / w / "c", tmp_path / w / "j") for w in ("home", "away"))
    inline, heard = InlineExecutor(home, said := queue.SimpleQueue()), {}
    for order in Chain(home).orders(source):
        inline.start(order)
        assert hear(said, Finished).outcome == "done"
        heard[order.stage] = digests(home, order.key)
    bare.start_worker(bare.address)
    executor = connected(bare.address, away, reports := queue.SimpleQueue())
    made = {}
    try:
        for order in Chain(away).orders(source):
            end = killed(executor, bare, reports, order)
            assert (end.outcome, end.kind, end.fence) == ("lost", "transient", 1), (order.stage, end)
            until = time.monotonic() + 60
            while not executor.free(False, order.stage):
                assert time.monotonic() < until
                time.sleep(0.01)
            executor.start(replace(order, fence=2))
            assert hear(reports, Finished) == Finished(order.job_id, 2, "done"), order.stage
            made[order.stage] = digests(away, order.key)
    finally:
        executor.shutdown(0.0)
    assert tuple(made) == STAGES
    assert made == heard
