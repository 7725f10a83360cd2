"""The job script of docs/cluster.md: run as SLURM runs it, by bash on a host that sees the files, it brings a worker that takes jobs."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import time
from pathlib import Path

from daemon.executors.dask import DaskExecutor
from daemon.executors.port import ClusterSaid, Finished, Places
from daemon.units import DASK as INSTALLED
from daemon.units import SCHEDULER, for_a_cluster
from tests.daemon.executors.clusters import DASK, ROOT, RealCluster
from tests.daemon.executors.test_contract import order, volume

PAGE = (ROOT / "docs" / "cluster.md").read_text()
SCRIPT = re.search(r"```bash\n(#!/bin/bash\n.*?)```", PAGE, re.DOTALL)[1]


def test_the_script_brings_a_worker_with_a_gpu(tmp_path: Path):
    asked = re.findall(r"^#SBATCH --([a-z-]+)", SCRIPT, re.MULTILINE)
    assert {"gres", "time", "requeue", "cpus-per-task"} <= set(asked)
    assert INSTALLED in SCRIPT and SCHEDULER in SCRIPT
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster") as cluster:
        script = SCRIPT.replace(INSTALLED, DASK).replace(SCHEDULER, cluster.start_scheduler())
        path = tmp_path / "alscope-worker.sh"
        path.write_text(script)
        with open(tmp_path / "out.txt", "wb") as out:
            environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
            cluster.workers.append(subprocess.Popen(["bash", path], stdout=out, stderr=out, env=environment))
        places = Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")
        executor = DaskExecutor(places, reports := queue.SimpleQueue(), cluster.address, True, 0, 0)
        try:
            until = time.monotonic() + 60
            while not executor.free(True, "volume"):
                assert time.monotonic() < until, (tmp_path / "out.txt").read_text()
                time.sleep(0.05)
            executor.long = True
            executor.start(order(executor, volume(tmp_path / "a.tif")))
            while isinstance(said := reports.get(timeout=60), ClusterSaid) or not isinstance(said, Finished):
                pass
            assert said == Finished(1, 1, "done")
        finally:
            executor.shutdown(0.0)


def test_units_and_page_name_the_same_worker():
    words = "--nthreads 2 --no-nanny --resources GPU=1 --death-timeout 60"
    assert words in PAGE and words in for_a_cluster()["alscope-worker@.service"]
