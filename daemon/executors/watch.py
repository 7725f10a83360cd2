"""Looks after the connection to a cluster: makes it, sees who is there and what is wrong, and makes it again when it broke."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from daemon.executors.cluster import Cluster, RemoteWorker
from daemon.executors.perform import one_line
from daemon.executors.port import ClusterSaid, Reports

LOOK_EVERY_S = 1.0
AGAIN_S = 2.0
"""After a connection that failed, the next is tried so much later."""
COMES_WITHIN_S = 900.0
"""Where workers come when jobs wait, they are missed from then on."""
ASKS_WITHIN_S = 30.0
"""A job that waits asks for a worker again within so long."""
SHUNNED_S = 300.0
"""A worker that did not begin with what it got gets nothing for so long."""


class Watch:
    """A thread of its own, from `start` to `close`. cluster: the connection, or None; workers: who is there. Both change under `lock`."""

    def __init__(
        self,
        address: str,
        gpu: bool,
        lock: threading.RLock,
        reports: Reports,
        hear: tuple[str, Callable[[tuple[float, dict[str, Any]]], None]],
        seen: Callable[[set[str]], None],
        lost: Callable[[], None],
        elastic: bool = False,
    ) -> None:
        """hear: a topic, and who is called (in the thread of the client) with what workers say under it. seen: called with the
        addresses of the workers after each look. lost: called when the connection broke or could not be made. elastic: that there are
        no workers is nothing wrong, unless jobs wait for long."""
        self.cluster: Cluster | None = None
        self.workers: list[RemoteWorker] = []
        self._address, self._gpu, self._lock, self._reports = address, gpu, lock, reports
        self._hear, self._seen, self._lost = hear, seen, lost
        self._elastic, self._waiting_since, self._asked_at = elastic, 0.0, 0.0
        self._shunned: dict[str, tuple[str, float]] = {}
        self._said: str | None = None
        self._hints: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._tend, name="cluster", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def alive(self) -> bool:
        """Does anybody look?"""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread and the connection."""
        self._closing = True
        self._hints.put(None)
        self._thread.join()

    def asked(self, found: bool) -> None:
        """A job was to begin. found: was there a worker for it?"""
        now = time.monotonic()
        if found or self.workers or now - self._asked_at > ASKS_WITHIN_S:
            self._waiting_since = 0.0
        self._asked_at = now
        if not (found or self.workers or self._waiting_since):
            self._waiting_since = now

    def _patient(self) -> bool:
        """May workers still come, or does nothing wait for them?"""
        now = time.monotonic()
        waits = self._waiting_since and now - self._asked_at <= ASKS_WITHIN_S
        return self._elastic and (not waits or now - self._waiting_since < COMES_WITHIN_S)

    def shun(self, address: str, why: str) -> None:
        """Let a worker have no jobs for a while. Called by what is `seen`."""
        self._shunned[address] = (why, time.monotonic() + SHUNNED_S)

    def look_now(self) -> None:
        """Do not wait for the next look."""
        self._hints.put(("", "", ""))

    def steer(self, name: str, what: str, address: str) -> None:
        """Have the job `name` on a worker asked to stop, or ended; returns at once."""
        self._hints.put((name, what, address))

    def _tend(self) -> None:
        while not self._closing:
            try:
                if self.cluster is None:
                    self._connect()
                self._look()
                wait_s = LOOK_EVERY_S
            except Exception as e:
                self._drop()
                self._lost()
                self._say(f"no scheduler can be reached ({one_line(e)}); jobs wait, it is tried again")
                wait_s = AGAIN_S
            with contextlib.suppress(queue.Empty):
                until = time.monotonic() + wait_s
                while not self._closing and (hint := self._hints.get(timeout=max(0.0, until - time.monotonic()))):
                    name, what, address = hint
                    if not name:
                        break
                    if self.cluster is not None:
                        with contextlib.suppress(Exception):
                            self.cluster.steer(name, what, address)
        self._drop()

    def _connect(self) -> None:
        cluster = Cluster(self._address, self._gpu)
        cluster.client.subscribe_topic(*self._hear)
        with self._lock:
            self.cluster = cluster

    def _look(self) -> None:
        assert self.cluster is not None
        if self.cluster.lost:
            raise ConnectionError("the connection to the scheduler broke")
        workers = [self._judged(worker) for worker in self.cluster.workers(self._hear[0])]
        with self._lock:
            changed = workers != self.workers
            self.workers = workers
        self._seen({w.address for w in workers})
        self._say("" if not workers and self._patient() else _trouble(workers))
        if changed:
            self._reports.put(ClusterSaid(self._address, self._said or ""))  # workers may be free: wakes the engine

    def _judged(self, worker: RemoteWorker) -> RemoteWorker:
        """With what is held against it here."""
        why, until = self._shunned.get(worker.address, ("", 0.0))
        if time.monotonic() >= until:
            self._shunned.pop(worker.address, None)
            return worker
        return replace(worker, trouble=worker.trouble or why)

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            self._reports.put(ClusterSaid(self._address, words))

    def _drop(self) -> None:
        with self._lock:
            cluster, self.cluster, self.workers = self.cluster, None, []
        if cluster is not None:
            with contextlib.suppress(Exception):
                cluster.close()


def _trouble(workers: list[RemoteWorker]) -> str:
    """What is wrong with them, in words, or ""."""
    wrong = [f"{w.host} ({w.address}): {w.trouble}" for w in workers if w.trouble]
    if not workers:
        return "the scheduler has no workers; jobs wait until there is one"
    if len(wrong) == len(workers):
        return f"no worker can take jobs, they wait: {'; '.join(wrong)}"
    return f"not used: {'; '.join(wrong)}" if wrong else ""
