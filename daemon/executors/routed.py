"""Some stages on the workers of a cluster, the others in processes of this machine: `run.stages` of config.toml."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from alcore.run import STAGES
from daemon.executors.port import Order
from daemon.executors.process import Patience, ProcessExecutor

if TYPE_CHECKING:
    from daemon.executors.dask import DaskExecutor


class RoutedExecutor:
    """Two executors that know nothing of each other. on_cluster: names of stages. device: of this machine; orders carry that of
    the workers."""

    def __init__(self, home: ProcessExecutor, cluster: DaskExecutor, on_cluster: frozenset[str], device: str) -> None:
        self._home, self._cluster, self._on_cluster, self._device = home, cluster, on_cluster, device
        self.groups = (frozenset(STAGES) - on_cluster, on_cluster)

    def _at(self, stage: str) -> ProcessExecutor | DaskExecutor:
        return self._cluster if stage in self._on_cluster else self._home

    def holds(self, stage: str) -> bool:
        """At home."""
        return self._at(stage).holds(stage)

    def free(self, long: bool, stage: str) -> bool:
        """Is there a slot where this stage runs?"""
        return self._at(stage).free(long, stage)

    def start(self, order: Order) -> None:
        """Begin where it runs."""
        if order.stage in self._on_cluster:
            self._cluster.start(order)
        else:
            self._home.start(dataclasses.replace(order, device=self._device))

    def stop(self, job_id: int) -> None:
        """The one that has the job hears it."""
        self._home.stop(job_id)
        self._cluster.stop(job_id)

    def hold(self, job_id: int, held: bool) -> None:
        """The one that has the job hears it."""
        self._home.hold(job_id, held)
        self._cluster.hold(job_id, held)

    def kill(self, job_id: int) -> None:
        """The one that has the job hears it."""
        self._home.kill(job_id)
        self._cluster.kill(job_id)

    def dead(self) -> list[str]:
        """Of either."""
        return [*self._home.dead(), *self._cluster.dead()]

    def shutdown(self, grace_s: float, patience: Patience = lambda order, fraction: False) -> None:
        """Both at the same time."""
        beside = threading.Thread(target=self._cluster.shutdown, args=(grace_s, patience), daemon=True)
        beside.start()
        self._home.shutdown(grace_s, patience)
        beside.join()
