"""The executor that config.toml asks for. What a cluster needs is imported where one is asked for, and nowhere else."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from alcore.errors import install_line
from daemon.config import Run
from daemon.device import threads
from daemon.errors import ConfigError
from daemon.executors.port import Places, Reports
from daemon.executors.process import Lane, ProcessExecutor

if TYPE_CHECKING:
    from daemon.executors.dask import DaskExecutor


def chosen(run: Run, places: Places, reports: Reports) -> ProcessExecutor | DaskExecutor:
    """Processes of this machine, or the workers of a cluster. Raises ConfigError where the extra `cluster` is not installed."""
    if run.executor == "process":
        lanes = [Lane(False, 1)] * run.workers + [Lane(True, threads(run))]
        return ProcessExecutor(places, reports, lanes, run.nice)
    need_distributed()
    from daemon.executors.dask import DaskExecutor

    return DaskExecutor(places, reports, run.address, run.device == "cuda", run.threads, run.nice)


def need_distributed() -> None:
    """Raises ConfigError where the extra `cluster` is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(f"run.executor = 'dask': distributed is not installed: {install_line('cluster')}")
