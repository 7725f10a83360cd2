"""One life of the engine in a forked child, with the science replaced by a script: milliseconds from birth to kill -9.

Engine, store, files, artifacts and commands are the real ones. What the service does around them is done here in the same order
(see `daemon.service`): sweep and take over, then events and ticks, each error of the disk waited out and tried again.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import random
import re
import sqlite3
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.errors import DiskFullError
from alcore.fileset import fingerprint_of
from daemon.arrival import Settled
from daemon.engine import Engine
from daemon.errors import AlscopeError, NoRoomError
from daemon.executors.port import Finished, Order
from daemon.store.labels import UNCHECKED
from daemon.store.store import Store
from daemon.walk import INBOX
from tests.daemon.play import Stage
from tests.daemon.scripted import ScriptedExecutor
from tests.faults.campaign.points import POINTS, Plan

N_VOLUMES, QUIET, MOST_TURNS = 2, 4, 600
OPTIONS: dict[str, Any] = {"training": {"every": 4}, "selection": {"queue_depth": 4}, "inbox": {"settle_s": 0.1}}
RESTED, STUCK, BROKE, REFUSED = 0, 3, 4, 5
"""Exit statuses: nothing left to do; never at rest; an exception that the daemon must not die of; the daemon said what is wrong
and ended, as it does where it cannot begin."""


@dataclass(frozen=True)
class Weather:
    """What else happens in a life. now: the clock at its begin. steps: turn -> seconds that the clock is set by.

    lose: the orders (1 is the first) whose worker is killed.
    """

    now: float
    steps: dict[int, float]
    lose: frozenset[int] = frozenset()


AGAIN = re.escape(UNCHECKED).replace(r"\{name\}", r"(\S+)")


class Expert:
    """Answers what is in the queue, once each; keeps a copy of every answer outside of the workspace. What is said to be put into the
    inbox again, is."""

    def __init__(self, root: Path) -> None:
        self.answers = root / "answers"
        self._queue, self._inbox = root / "ws" / "queue", root / "ws" / "inbox"
        self._rejected = root / "ws" / "rejected"

    def look(self) -> None:
        for folder in sorted(self._queue.glob("s*")):
            kept = self.answers / f"{folder.name}.tif"
            if not kept.exists() and (folder / "suggestion.json").exists():
                kept.write_bytes(b"label " + folder.name.encode())
                tmp = self._inbox / f".{folder.name}.tmp"
                tmp.write_bytes(kept.read_bytes())
                tmp.rename(self._inbox / kept.name)
        for reason in self._rejected.glob("s*.txt"):
            label = reason.with_suffix("")
            told = re.search(AGAIN, reason.read_text())
            if told and label.exists():
                label.rename(self._inbox / told[1])


class Executor(ScriptedExecutor):
    """The scripted one, whose errors become outcomes as in a real worker, and whose workers can be killed."""

    lose: frozenset[int] = frozenset()

    def start(self, order: Order) -> None:
        if len(self.orders) + 1 in self.lose:
            self.orders.append(order)
            self.reports.put(Finished(order.job_id, order.fence, "lost", "the worker died (signal 9)", "transient"))
            return
        try:
            super().start(order)
        except DiskFullError as e:
            self.reports.put(Finished(order.job_id, order.fence, "failed", str(e), "disk_full"))
        except OSError as e:
            self.reports.put(Finished(order.job_id, order.fence, "failed", str(e), "transient"))


class Played(Stage):
    """A `Stage` that takes over as the service does, and keeps events that could not be handled."""

    def __init__(self, root: Path, weather: Weather) -> None:
        self.weather, self.root = weather, root
        self.waiting: collections.deque[Any] = collections.deque()
        self.expert = Expert(root)
        super().__init__(root, **OPTIONS)
        self.now = weather.now

    def open(self) -> None:
        self.now = self.weather.now
        self.store = Store(self.workspace.root)
        self.executor = Executor(self.workspace.artifacts)
        self.executor.lose = self.weather.lose
        self.engine = Engine(self.settings, self.workspace, self.store, self.executor, "cpu", 1, "me", lambda: self.now)
        self.engine.backing.beside = lambda call: call()  # the n-th side effect is the same one every time
        for _ in range(MOST_TURNS):
            try:
                self.engine.files.sweep()
                self.engine.start()
                self.store.state.started(1, "test", self.now)
                return
            except (sqlite3.OperationalError, OSError):
                self.now += 1

    def live(self) -> bool:
        """Until nothing is left to do; False when that never comes."""
        quiet = 0
        for number in range(MOST_TURNS):
            self.now += self.weather.steps.get(number, 0.0) + 1
            quiet = 0 if self._moved(number) else quiet + 1
            if quiet == QUIET:
                return True
            if quiet:
                self.now += 700  # let every backoff pass
        return False

    def _moved(self, number: int) -> bool:
        before, held = len(self.executor.orders), len(self.waiting)
        with POINTS.paused():
            self.expert.look()
            self._scan()
        fresh = len(self.waiting) - held
        with contextlib.suppress(queue.Empty):
            while True:
                self.waiting.append(self.executor.reports.get_nowait())
        try:
            while self.waiting:
                try:
                    self.engine.handle(self.waiting[0])
                except FileNotFoundError:
                    if not isinstance(self.waiting[0], Settled):
                        raise
                self.waiting.popleft()
            self.engine.tick()
            if number % 7 == 6:
                self.engine.pulse()
            if number % 20 == 19:
                self.engine.housekeeping()
        except (sqlite3.OperationalError, OSError):
            return True  # waited out
        return fresh > 0 or len(self.executor.orders) > before or not self.executor.reports.empty()

    def _scan(self) -> None:
        """Say of every file what the scan would say, unless it was said and waits."""
        known = self.store.sources.known()
        for folder, watch in ((self.folder, 0), (self.inbox, INBOX)):
            for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                name = os.fsencode(path)
                found = fingerprint_of(name)
                if found is None or any(isinstance(e, Settled) and e.path == name for e in self.waiting):
                    continue
                seen = known.get(name)
                if watch == INBOX or seen is None or seen.fingerprint != found.to_text():
                    self.waiting.append(Settled(name, watch, found.size, found.to_text(), found.mtime_ns / 1e9))


def prepare(root: Path) -> None:
    """A watched folder with its acquisitions, and no workspace yet."""
    for name in ("in", "answers"):
        (root / name).mkdir(parents=True)
    for n in range(N_VOLUMES):
        (root / "in" / f"v{n}.tif").write_bytes(b"volume %d" % n)


def live(root: Path, plan: Plan | None, weather: Weather) -> int:
    """A life in a child process; returns how it ended: an exit status, or minus the signal. Its last words are in root/words."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    ended = BROKE
    try:
        logging.disable(logging.CRITICAL)
        random.seed(0)
        if plan is not None:
            POINTS.arm(plan)
        ended = _life(root, weather)
    except BaseException:
        with POINTS.paused(), open(root / "words", "a") as f:
            f.write(traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(ended)


def _life(root: Path, weather: Weather) -> int:
    for _ in range(MOST_TURNS):
        try:
            stage = Played(root, weather)
            break
        except NoRoomError:
            continue  # waited out
        except AlscopeError as e:
            with POINTS.paused(), open(root / "words", "a") as f:
                f.write(f"refused: {e}\n")
            return REFUSED
    else:
        return STUCK
    rested = stage.live()
    with POINTS.paused():
        (root / "count").write_text(str(POINTS.count))
    stage.store.close()
    return RESTED if rested else STUCK
