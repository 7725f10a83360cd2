"""The real daemon on a cluster of this machine: volumes go through, status says what is wrong, `alscope workers` who does what."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from daemon.config import from_mapping
from daemon.errors import ConfigError
from tests.daemon.daemons import real_daemon
from tests.daemon.executors.clusters import ROOT, RealCluster
from tests.daemon.executors.fake_slurm import FakeSlurm
from tests.daemon.executors.test_slurm_workers import free_port

CONFIG = """workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.3
[patch]
shape_px = [4, 32, 32]
[run]
min_free_gb = 0.0
rescan_s = 2.0
executor = "dask"
device = "cpu"
address = "{address}"
"""


def write(folder: Path, name: str, seed: int) -> None:
    voxels = np.random.default_rng(seed).integers(0, 255, (4, 64, 64), np.uint8)
    tifffile.imwrite(folder / name, voxels, metadata={"axes": "ZYX"})


@pytest.mark.slow
def test_volumes_go_through_and_what_is_wrong_is_said(tmp_path: Path):
    (tmp_path / "cluster").mkdir()
    with (
        RealCluster(tmp_path / "cluster") as cluster,
        real_daemon(tmp_path, CONFIG.format(address=cluster.address)) as daemon,
    ):
        write(daemon.folder, "a.tif", 1)
        daemon.start()
        daemon.wait(lambda shot: any(p.kind == "cluster" for p in shot.problems), 60)
        assert "no scheduler can be reached" in str(daemon.status()["problems"])
        none = daemon.alscope("workers")
        assert none.returncode == 69 and "no scheduler can be reached" in none.stderr and none.stderr.count("\n") == 1
        cluster.start_worker(cluster.start_worker(cluster.start_scheduler()))
        daemon.wait(lambda shot: not any(p.kind == "cluster" for p in shot.problems), 60)
        wait_for_volumes(daemon, 1)
        found = json.loads(daemon.alscope("workers", "--json").stdout)
        assert [(w["slots"], w["gpus"], w["remark"]) for w in found] == [(2, 0, "")] * 2
        assert "Python" in daemon.alscope("workers").stdout
        cluster.workers[0].kill()
        write(daemon.folder, "b.tif", 2)
        wait_for_volumes(daemon, 2)


@pytest.mark.slow
def test_workers_come_from_slurm_when_there_is_something_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slurm = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", slurm.path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    address = f"tcp://127.0.0.1:{free_port()}"
    config = CONFIG.format(address=address) + "[run.slurm]\nworkers = 1\nidle_min = 0.05\n"
    with real_daemon(tmp_path, config) as daemon:
        script = daemon.alscope("cluster", "--script").stdout
        assert script.startswith("#!/usr/bin/env bash") and address in script and "#SBATCH --cpus-per-task=8" in script
        daemon.start()
        daemon.wait(lambda shot: any(p.kind == "cluster" for p in shot.problems), 60)
        assert "start `alscope cluster`" in daemon.alscope("workers").stderr
        command = [sys.executable, "-m", "daemon.cli.main", "--config", str(daemon.config), "cluster"]
        with open(tmp_path / "cluster.log", "wb") as log:
            cluster = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            daemon.wait(lambda shot: not any(p.kind == "cluster" for p in shot.problems), 60)  # none is needed
            assert "asks SLURM for some when jobs wait" in daemon.alscope("workers").stdout
            assert slurm.jobs() == []
            write(daemon.folder, "a.tif", 1)
            wait_for_volumes(daemon, 1)
            assert len(slurm.jobs()) == 1
            daemon.kill()
            assert len(slurm.jobs()) == 1, "they outlive the daemon"
        finally:
            cluster.send_signal(signal.SIGHUP)  # as when its terminal is closed
            assert cluster.wait(30) == 0, (tmp_path / "cluster.log").read_text()
            left = slurm.jobs()
            slurm.end()
        assert left == []


def wait_for_volumes(daemon, n: int) -> None:
    until = time.monotonic() + 90
    while True:
        ingested = [v for v in json.loads(daemon.alscope("volumes", "--json").stdout) if v["state"] == "ingested"]
        if len(ingested) == n:
            return
        assert time.monotonic() < until, daemon.log
        time.sleep(0.5)


def test_a_cluster_that_is_away_does_not_hide_this_machine(tmp_path: Path):
    config = CONFIG.format(address="tcp://127.0.0.1:1").replace('executor = "dask"', 'stages = { finetune = "dask" }')
    with real_daemon(tmp_path, config) as daemon:
        here, away = json.loads(daemon.alscope("workers", "--json").stdout)
    assert (here["worker"], here["slots"], here["remark"]) == ("process", 2, "")
    assert away["worker"] == "tcp://127.0.0.1:1" and "no scheduler can be reached" in away["remark"]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"executor": "dask", "device": "cpu"}, "needs address"),
        ({"executor": "dask", "device": "auto", "address": "tcp://a:1"}, 'needs device = "cuda" or "cpu"'),
        ({"address": "tcp://a:1"}, 'needs executor = "dask"'),
        (
            {"executor": "dask", "device": "cpu", "address": "localhost:8786"},
            "run.address = 'localhost:8786': must be that",
        ),
        ({"executor": "dask", "device": "cpu", "address": "tcp://a"}, "must be that of a dask scheduler"),
        ({"executor": "dask", "device": "cpu", "address": "tcp://a:x"}, "must be that of a dask scheduler"),
        ({"executor": "dsk"}, "did you mean 'dask'?"),
        ({"long_jobs": 2}, 'long_jobs counts those on a cluster: it needs executor = "dask"'),
        ({"slurm": {"workers": 2}}, 'slurm.workers are those of a cluster: it needs executor = "dask"'),
        (
            {"executor": "dask", "device": "cpu", "slurm": {"workers": 1, "least": 2}},
            "slurm.least = 2 is more than slurm.workers = 1",
        ),
        (
            {"executor": "dask", "device": "cuda", "slurm": {"workers": 1, "options": ["a\nb"]}},
            "one line of the job script",
        ),
        ({"stages": {"finetune": "dask"}}, 'a stage with "dask" needs address'),
        (
            {"stages": {"finetune": "dask"}, "address": "tcp://a:1"},
            'a stage with "dask" needs device = "cuda" or "cpu"',
        ),
        ({"stages": {"fintune": "dask"}}, "there is no stage 'fintune'; did you mean 'finetune'?"),
        ({"stages": {"finetune": "dsk"}}, "did you mean 'dask'?"),
    ],
)
def test_what_is_wrong_with_a_cluster_in_config_toml_is_one_line(tmp_path: Path, run: dict, words: str):
    with pytest.raises(ConfigError) as wrong:
        from_mapping({"watch": [{"folder": "in"}], "run": run}, tmp_path / "config.toml")
    assert words in str(wrong.value) and "\n" not in str(wrong.value) and "run" in str(wrong.value)
