"""The executor that config.toml asks for. What a cluster needs is imported where one is asked for, and nowhere else."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from alcore.errors import install_line
from alcore.run import STAGES
from daemon.config import Run
from daemon.device import device, has_cuda, threads
from daemon.errors import ConfigError
from daemon.executors.port import Places, Reports
from daemon.executors.process import Lane, ProcessExecutor
from daemon.executors.routed import RoutedExecutor

if TYPE_CHECKING:
    from daemon.executors.dask import DaskExecutor


def chosen(run: Run, places: Places, reports: Reports) -> ProcessExecutor | DaskExecutor | RoutedExecutor:
    """Processes of this machine, the workers of a cluster, or both. Raises ConfigError where the extra `cluster` is not installed."""
    away = on_cluster(run)
    if away:
        need_distributed()
    if away == frozenset(STAGES):
        return _cluster(run, places, reports)
    lanes = [Lane(False, 1)] * run.workers + [Lane(True, threads(run))]
    home = ProcessExecutor(places, reports, lanes, run.nice)
    if not away:
        return home
    return RoutedExecutor(home, _cluster(run, places, reports), away, device_here(run))


def on_cluster(run: Run) -> frozenset[str]:
    """The stages that run on the workers of a cluster."""
    return frozenset(name for name in STAGES if run.stages.get(name, run.executor) == "dask")


def device_here(run: Run) -> str:
    """What jobs at home compute on. Beside a cluster config.toml says what the workers have, and this machine may have less."""
    return "cpu" if on_cluster(run) and not has_cuda() else device(run)


def _cluster(run: Run, places: Places, reports: Reports) -> DaskExecutor:
    from daemon.executors.dask import DaskExecutor

    elastic = run.slurm.workers > 0
    gpu = run.device == "cuda"
    return DaskExecutor(places, reports, run.scheduler, gpu, run.threads, run.nice, elastic, run.long_jobs)


def need_distributed(module: str = "distributed") -> None:
    """Raises ConfigError where the extra `cluster` is not installed."""
    if importlib.util.find_spec(module) is None:
        name = module.replace("_", "-")
        raise ConfigError(f"run.executor = 'dask': {name} is not installed: {install_line('cluster')}")
