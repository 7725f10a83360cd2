"""The demo on a cluster of two workers, one of which is killed in each stage: nothing is lost, and nothing fails."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from daemon.demo import conductor
from daemon.store.connection import DATABASE, open_reader
from tests.daemon.executors.clusters import RealCluster


class Killer(threading.Thread):
    """Kills the worker of the cluster that has the first job of each stage, and starts another one."""

    def __init__(self, cluster: RealCluster, workspace: Path) -> None:
        super().__init__(daemon=True)
        self.cluster, self.workspace = cluster, workspace
        self.killed: dict[str, int] = {}
        self.over = threading.Event()

    def run(self) -> None:
        looked_at: set[Path] = set()
        while not self.over.wait(0.002):
            for mark in set(self.workspace.glob("jobs/*/taken-*")) - looked_at:
                looked_at.add(mark)  # a worker has just begun with it
                stage = self._stage_of(int(mark.parent.name))
                if stage and stage not in self.killed and (worker := self._worker_of(mark)) is not None:
                    worker.kill()
                    self.killed[stage] = int(mark.parent.name)
                    self.cluster.start_worker(self.cluster.address)
                    time.sleep(1.0)

    def _stage_of(self, job_id: int) -> str:
        with contextlib.closing(open_reader(self.workspace / DATABASE)) as db:
            row = db.execute("SELECT stage FROM job WHERE id = ?", [job_id]).fetchone()
        return row["stage"] if row else ""

    def _worker_of(self, mark: Path) -> subprocess.Popen[bytes] | None:
        """The only worker of the two whose child has a file of the job open (its log), as long as the job runs."""
        while mark.exists():
            for worker in self.cluster.workers:
                with contextlib.suppress(psutil.Error, OSError):
                    for child in psutil.Process(worker.pid).children(recursive=True):
                        if any(os.readlink(f"/proc/{child.pid}/fd/{n}").startswith(f"{mark.parent}/") for n in (1, 2)):
                            return worker
        return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loop_survives_a_worker_killed_in_each_stage(tmp_path: Path):
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster") as cluster:
        cluster.start_worker(cluster.start_worker(cluster.start_scheduler()))
        killer = Killer(cluster, tmp_path / "demo" / "workspace")
        killer.start()
        command = [sys.executable, "-m", "daemon.cli.main", "demo", "--rounds", "1", "--address", cluster.address]
        try:
            ended = subprocess.run(
                [*command, "--folder", str(tmp_path / "demo")],
                capture_output=True,
                text=True,
                timeout=1700,
                check=False,
            )
        finally:
            killer.over.set()
            killer.join()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with contextlib.closing(open_reader(tmp_path / "demo" / "workspace" / DATABASE)) as db:
        ran = {row["stage"] for row in db.execute("SELECT DISTINCT stage FROM job WHERE attempts > 0")}
    print("killed in", sorted(killer.killed), "of", sorted(ran))
    assert {"pretrain", "finetune", "predict"} <= set(killer.killed) <= ran, killer.killed
    assert len(ran - set(killer.killed)) <= 3, "a job of some milliseconds may be over before the kill comes"
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert len(summary["rounds"]) == 1
    shot = conductor.seen(tmp_path / "demo" / "workspace")
    assert shot is not None and not [p for p in shot.problems if p.kind == "job"]
