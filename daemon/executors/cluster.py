"""The connection to a dask scheduler: who works there, and whether they can work for this daemon. Imports distributed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Status

from daemon.executors.perform import one_line
from daemon.executors.port import Places
from daemon.executors.remote import about, is_long, steer, unlike, versions

CONNECT_S = 5.0
ANSWER_S = 10.0
"""So long a worker has to answer a question."""
SILENT_S = 1.0
"""So long, where it did not answer before: everybody else waits for it meanwhile."""
AGAIN_S = (5.0, 300.0)
"""It is asked again after so long, and then twice as long each time up to this."""


@dataclass(frozen=True)
class RemoteWorker:
    """One worker process of the cluster. gpus: its resource GPU; gpu_names: what its host calls them. trouble: why it gets no jobs,
    or "". others, others_long: tasks that others sent it (all of them, and long jobs of other daemons), a moment ago."""

    address: str
    host: str
    slots: int
    gpus: int
    versions: Mapping[str, str]
    trouble: str
    others: int = field(default=0, compare=False)
    others_long: int = field(default=0, compare=False)
    gpu_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Silent:
    """A worker that did not answer: the words for it, and when it is asked again."""

    why: str
    again_at: float
    wait_s: float


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
        self._silent: dict[str, _Silent] = {}
        self.client = Client(address, timeout=CONNECT_S, set_as_default=False, name="alscope", heartbeat_interval=2000)

    @property
    def lost(self) -> bool:
        """Is there no connection any more?"""
        return self.client.status != "running" or self.client.scheduler is None

    def workers(self, mine: str = "") -> list[RemoteWorker]:
        """All there are now, by address. mine: how names of own tasks begin. Raises OSError or TimeoutError."""
        info, tasks = self.client.sync(self._identity, callback_timeout=ANSWER_S)
        found = {
            a: w
            for a, w in info["workers"].items()
            if w.get("status", Status.running.name) in (Status.running.name, "paused")
        }
        self._known = {a: known for a, known in self._known.items() if a in found}
        self._silent = {a: silent for a, silent in self._silent.items() if a in found}
        now = time.monotonic()
        self._meet([a for a in found if a not in self._known and a not in self._silent], ANSWER_S)
        self._meet([a for a, silent in self._silent.items() if silent.again_at <= now], SILENT_S)
        return [self._worker(address, found[address], tasks.get(address, ()), mine) for address in sorted(found)]

    def _meet(self, addresses: list[str], wait_s: float) -> None:
        """Ask them about themselves."""
        if not addresses:
            return
        answers = self.client.sync(self._ask, about, (), addresses, wait_s, callback_timeout=2 * ANSWER_S)
        for address, said in answers.items():
            before = self._silent.pop(address, None)
            if not isinstance(said, BaseException):
                self._known[address] = said
                continue
            why, wait = f"does not answer ({one_line(said)})", AGAIN_S[0]
            if isinstance(said, (ImportError, AttributeError)):
                why = f"alscope is not installed there, or is another version ({one_line(said)})"
            if before is not None:
                wait = min(2 * before.wait_s, AGAIN_S[1])
            self._silent[address] = _Silent(why, time.monotonic() + wait, wait)

    def steer(self, name: str, what: str, address: str) -> None:
        """Tell the job `name` on a worker to stop, or end it; a worker that does not answer is noticed otherwise."""
        self.client.sync(self._ask, steer, (name, what), [address], ANSWER_S, callback_timeout=2 * ANSWER_S)

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
        scheduler = self.client.scheduler
        if scheduler is None:
            raise ConnectionError("the connection to the scheduler broke")
        return await asyncio.gather(scheduler.identity(n_workers=-1), scheduler.processing(workers=None))

    async def _ask(
        self, function: Any, arguments: tuple[Any, ...], addresses: list[str], wait_s: float
    ) -> dict[str, Any]:
        async def one(address: str) -> Any:
            try:
                wait = self.client.run(function, *arguments, workers=[address], on_error="return")
                return (await asyncio.wait_for(wait, wait_s))[address]
            except Exception as e:  # the worker is gone, or hangs
                return e

        return dict(zip(addresses, await asyncio.gather(*map(one, addresses)), strict=True))

    def _worker(self, address: str, said: Mapping[str, Any], tasks: Sequence[str], mine: str) -> RemoteWorker:
        gpus, slots = int((said.get("resources") or {}).get("GPU", 0)), int(said["nthreads"])
        if address in self._silent:
            host = str(said.get("host", address))
            return RemoteWorker(address, host, slots, gpus, {}, self._silent[address].why)
        known = self._known[address]
        trouble = unlike(known["versions"], versions())
        if not trouble and self._gpu and not gpus:
            trouble = 'declares no GPU, and run.device = "cuda": start it with --resources GPU=1'
        others = [str(name) for name in tasks if not mine or not str(name).startswith(mine)]
        n_long = sum(map(is_long, others))
        names = tuple(known.get("gpus", ()))
        return RemoteWorker(address, known["host"], slots, gpus, known["versions"], trouble, len(others), n_long, names)
