"""The connection to a dask scheduler: who works there, and whether they can work for this daemon. Imports distributed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Status

from daemon.executors.port import Places
from daemon.executors.remote import about, steer, unlike, versions

CONNECT_S = 5.0
ANSWER_S = 10.0
"""So long a worker has to answer a question."""


@dataclass(frozen=True)
class RemoteWorker:
    """One worker process of the cluster. gpus: its resource GPU. trouble: why it gets no jobs, or "". executing: tasks
    that it ran a moment ago, whoever sent them."""

    address: str
    host: str
    slots: int
    gpus: int
    versions: Mapping[str, str]
    trouble: str
    executing: int = field(default=0, compare=False)


def workspace_name(places: Places) -> str:
    """How names of tasks for a workspace begin: several daemons may use one scheduler."""
    owner = f"{socket.gethostname()}:{places.jobs.resolve()}"
    return f"alscope-{hashlib.sha256(os.fsencode(owner)).hexdigest()[:10]}"


class Cluster:
    """A client of one scheduler. gpu: whether jobs need a GPU. Raises OSError where no scheduler answers.

    Methods are called from one thread, but for `submit` of the client.
    """

    def __init__(self, address: str, gpu: bool) -> None:
        for name in list(logging.root.manager.loggerDict):
            if name.split(".")[0] == "distributed":  # what matters is said by the daemon, once
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._gpu = gpu
        self._known: dict[str, dict[str, Any]] = {}
        self.client = Client(address, timeout=CONNECT_S, set_as_default=False, name="alscope", heartbeat_interval=2000)

    @property
    def lost(self) -> bool:
        """Is there no connection any more?"""
        return self.client.status != "running" or self.client.scheduler is None

    def workers(self) -> list[RemoteWorker]:
        """All there are now, by address. Raises OSError or TimeoutError."""
        info = self.client.sync(self._identity, callback_timeout=ANSWER_S)["workers"]
        found = {
            a: w for a, w in info.items() if w.get("status", Status.running.name) in (Status.running.name, "paused")
        }
        self._known = {a: known for a, known in self._known.items() if a in found}
        if new := [address for address in found if address not in self._known]:
            self._known |= self.client.sync(self._ask, about, (), new, callback_timeout=2 * ANSWER_S)
        return [self._worker(address, found[address]) for address in sorted(found) if address in self._known]

    def steer(self, name: str, what: str, address: str) -> None:
        """Tell the job `name` on a worker to stop, or end it; a worker that does not answer is noticed otherwise."""
        self.client.sync(self._ask, steer, (name, what), [address], callback_timeout=2 * ANSWER_S)

    def doing(self) -> dict[str, list[str]]:
        """Names of the tasks on each worker, by address; those of other users of the cluster as well."""
        found: dict[str, list[str]] = {a: list(keys) for a, keys in self.client.processing().items()}
        return found

    def follow(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Run a coroutine in the thread of the client."""
        assert self.client.loop is not None
        self.client.loop.add_callback(function, *arguments)

    def close(self) -> None:
        """Give everything back that was asked of the cluster."""
        self.client.close(timeout=2)

    async def _identity(self) -> Any:
        if self.client.scheduler is None:
            raise ConnectionError("the connection to the scheduler broke")
        return await self.client.scheduler.identity(n_workers=-1)

    async def _ask(self, function: Any, arguments: tuple[Any, ...], addresses: list[str]) -> dict[str, Any]:
        async def one(address: str) -> Any:
            try:
                wait = self.client.run(function, *arguments, workers=[address], on_error="return")
                return (await asyncio.wait_for(wait, ANSWER_S))[address]
            except Exception as e:  # the worker is gone, or hangs
                return e

        return dict(zip(addresses, await asyncio.gather(*map(one, addresses)), strict=True))

    def _worker(self, address: str, said: Mapping[str, Any]) -> RemoteWorker:
        known, gpus = self._known[address], int((said.get("resources") or {}).get("GPU", 0))
        slots, host = int(said["nthreads"]), str(said.get("host", address))
        if isinstance(known, BaseException):
            if isinstance(known, (ImportError, AttributeError)):
                why = f"alscope is not installed there, or is another version ({known})"
            else:
                why = f"does not answer ({known or type(known).__name__})"
                del self._known[address]  # asked again
            return RemoteWorker(address, host, slots, gpus, {}, why)
        executing = int((said.get("metrics") or {}).get("executing", 0))
        trouble = unlike(known["versions"], versions())
        if not trouble and self._gpu and not gpus:
            trouble = 'declares no GPU, and run.device = "cuda": start it with --resources GPU=1'
        return RemoteWorker(address, known["host"], slots, gpus, known["versions"], trouble, executing)
