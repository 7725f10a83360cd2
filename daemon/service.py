"""The daemon: takes the lock, wires the hands to the engine, turns signals into a quick and orderly end."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import sqlite3
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import alcore
from alcore.disk import full_words
from daemon.arrival import Arriving, Gone, Identified, Reachable, Settled
from daemon.boot import boot_id
from daemon.config import Settings, load
from daemon.courier import Courier
from daemon.device import device, threads
from daemon.engine import Engine, is_sighting
from daemon.errors import BrokenError, ConfigError, DamagedError, NoRoomError
from daemon.executors.chosen import chosen
from daemon.executors.port import Reports
from daemon.hands import Hands, scans
from daemon.hangup import Hangup
from daemon.notify import StatusLine, notify
from daemon.patience import until_checkpoint
from daemon.reload import reread
from daemon.rescue import open_store
from daemon.store.connection import DATABASE, damaged_words, is_damage, out_of_room
from daemon.workspace import Lock, Workspace

log = logging.getLogger("alscope")

GRACE_S = 3.0
"""A stopped daemon gives its workers so long to end by themselves."""
PLAN_EVERY_S = 5.0
PULSE_EVERY_S = 10.0
CHECKPOINT_EVERY_S = 300.0
ROOM_EVERY_S = 2.0
"""On a full disk a daemon that wants to start looks for room so often."""
SAY_AGAIN_S = 600.0
"""What is waited for is said once, and then so often."""


class Wake:
    """A word in the engine's queue: look again."""


class Pulse:
    """A word in the engine's queue: give a sign of life, and check that the hands are alive."""


class Checkpoint:
    """A word in the engine's queue: fold the write-ahead log."""


class Reload:
    """A word in the engine's queue: read config.toml again."""


WORDS = (Wake, Pulse, Checkpoint, Reload)
"""What only has a meaning while the daemon runs."""
SEEN = (Arriving, Settled, Gone, Reachable, Identified)
"""What the scan says: all of it is said again by the next one."""


def run(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT. Raises AlreadyRunningError or WorkspaceError before anything is changed.

    On a full disk it waits for room: to end, and be started again and again, would help nobody.
    """
    workspace = Workspace(settings.workspace)
    said = False
    while True:
        try:
            _run(settings, workspace)
            return 0
        except NoRoomError as e:
            if not said:
                log.error("%s", e)
            said = True
        notify(f"EXTEND_TIMEOUT_USEC={int(10e6 * ROOM_EVERY_S)}")
        time.sleep(ROOM_EVERY_S)


def _run(settings: Settings, workspace: Workspace) -> None:
    workspace.make()
    lock = Lock(workspace)
    lock.take()
    try:
        Service(settings, workspace).run()
    except sqlite3.DatabaseError as e:
        if not is_damage(e):
            raise
        raise DamagedError(damaged_words(workspace.root / DATABASE, str(e))) from e
    finally:
        lock.release()


class Service:
    """One daemon on one workspace. The engine's thread is the main thread."""

    def __init__(self, settings: Settings, workspace: Workspace) -> None:
        self._settings = settings
        self._events: Reports = queue.SimpleQueue()
        self._ending = self._hurrying = self._pulsed = self._rereading = False
        self._said: dict[str, float] = {}
        self._unheard: list[object] = []
        self._store = open_store(workspace, time.time())
        self._status = StatusLine(workspace.root)
        processor = device(settings.run)
        cores = threads(settings.run)
        self._executor = chosen(settings.run, workspace.places, self._events)
        self._workspace = workspace
        self._hands = Hands(
            settings,
            workspace,
            self._store,
            self._events.put,
            lambda: self._events.put(Wake()),
            {
                "plan": (PLAN_EVERY_S, lambda: self._events.put(Wake())),
                "pulse": (PULSE_EVERY_S, lambda: self._events.put(Pulse())),
                "checkpoint": (CHECKPOINT_EVERY_S, lambda: self._events.put(Checkpoint())),
            },
        )
        self._engine = Engine(
            settings=settings,
            workspace=workspace,
            store=self._store,
            executor=self._executor,
            device=processor,
            threads=cores,
            lease=f"{boot_id()}:{os.getpid()}",
            clock=time.time,
            ingest=self._hands.ingest,
        )
        self._send_by(self._hands.couriers)

    def _send_by(self, couriers: Mapping[str, Courier]) -> None:
        self._engine.alarming.ways = {channel: courier.send for channel, courier in couriers.items()}

    def run(self) -> None:
        """Until a signal says otherwise."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        hangup = Hangup()
        signal.signal(signal.SIGHUP, lambda n, f: self._end(n, f) if hangup.ends() else self._events.put(Reload()))
        if hasattr(signal, "SIGIO"):
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # a broken lease (see ingest.open_for_writing) is no emergency
        try:
            self._take_over()
            self._hands.start()
            notify("READY=1")
            self._events.put(Pulse())
            log.info("watching %s", ", ".join(str(w.folder) for w in self._settings.watch))
            while not self._ending:
                self._turn()
        finally:
            self._shut_down()

    def _take_over(self) -> None:
        """Mend what a former daemon left, and say that there is a new one."""
        while not self._ending:
            try:
                self._engine.files.sweep()
                self._engine.start()
                self._store.state.started(os.getpid(), alcore.__version__, time.time())
                self._supervise()
                return
            except (sqlite3.OperationalError, OSError) as e:
                self._wait_out(e)

    def _turn(self) -> None:
        """Take what has come in, then bring everything in line. A full disk or a locked database is waited out."""
        events, self._unheard = self._unheard or [self._events.get()], []
        with contextlib.suppress(queue.Empty):
            while len(events) < 500:
                events.append(self._events.get_nowait())
        number = 0
        while number < len(events):
            event = events[number]
            if self._ending:
                self._unheard = events[number:]
                return
            try:
                sightings: list[Any] = list(itertools.takewhile(is_sighting, events[number:]))
                if sightings:
                    self._engine.sightings(sightings)
                else:
                    self._one(event)
                number += max(1, len(sightings))
            except (sqlite3.OperationalError, OSError) as e:
                if isinstance(e, FileNotFoundError) and isinstance(event, Settled):
                    number += 1
                    continue  # it left the folder at this moment; the scan tells if it comes back
                self._unheard = _once_each(events[number:])
                self._wait_out(e)
                return
        try:
            if self._rereading:
                self._reread()
            began = time.monotonic()
            self._engine.tick()
            self._hands.ticks.passed(time.monotonic() - began)
            if self._pulsed:
                self._alive()
        except (sqlite3.OperationalError, OSError) as e:
            self._wait_out(e)

    def _alive(self) -> None:
        """Watcher, scan, timers and workers were looked at, the database was written to, and what was ready has begun."""
        notify("WATCHDOG=1")
        self._pulsed = False
        self._status.keep(self._engine.doing())

    def _one(self, event: object) -> None:
        if isinstance(event, Pulse):
            self._supervise()
            self._engine.pulse()
            self._pulsed = True
        elif isinstance(event, Checkpoint):
            self._engine.housekeeping()
        elif isinstance(event, Reload):
            self._rereading = True
        elif not isinstance(event, Wake):
            self._engine.handle(event)

    # config.toml, read again

    def _reread(self) -> None:
        """Go on with what config.toml says now; with what it said before where it is wrong, and it is said."""
        file, state, now = self._settings.file, self._store.state, time.time()
        assert file is not None, "the daemon's settings were read from a file"
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            found = reread(self._settings, load(file))
        except (ConfigError, OSError) as e:
            words = f"{e}; the settings from before stay in force"
            state.problem("config", "config.toml", words, now)
            log.error("%s", words)
        else:
            if found.changed:
                self._go_on_with(found.settings, found.changed)
            state.no_problems("config")
            if found.waiting:
                state.problem("config", "restart", f"changed in config.toml, but in force {found.later()}", now)
            words = found.words()
            log.info("%s", words)
        state.event("config", words, now)
        self._hands.supervise_metrics()
        self._rereading = False
        notify("READY=1")

    def _go_on_with(self, settings: Settings, changed: Sequence[str]) -> None:
        """Other settings, and the hands that they want; jobs that run go on. Tried again as a whole after an error on the way."""
        engine = self._engine.with_settings(settings, self._hands.ingest)
        if scans(changed):  # as after a restart: the new scan knows nothing but what is in the store
            self._hands.stop_scan()
            waiting = [*self._unheard, *everything(self._events)]
            self._unheard = [event for event in waiting if not isinstance(event, SEEN)]
            engine.take_in_folders()
        self._hands.exchange(settings, changed)
        self._engine = engine.with_settings(settings, self._hands.ingest)
        if any(key.startswith("alarms.") for key in changed):
            self._engine.alarming.busy = set()  # nobody comes back from the old ways out
        self._send_by(self._hands.couriers)
        self._settings = settings

    def _supervise(self) -> None:
        """Are the watcher, the scan and the timers alive?"""
        self._hands.supervise_metrics()
        wrong = "; ".join(self._hands.watcher.supervise())
        if not wrong:
            self._store.state.solved("watcher", "events")
        elif self._store.state.problem("watcher", "events", wrong, time.time()):
            log.warning("%s", wrong)
        if self._hands.timers.check_clock():
            log.warning("the clock was set; timers restarted")
        if self._hands.scan_died:
            raise BrokenError("the scan of the watched folders has died; restarting is the only remedy")
        if dead := self._executor.dead():
            raise BrokenError(f"{', '.join(dead)}: serves no jobs any more; restarting is the only remedy")

    def _wait_out(self, error: Exception) -> None:
        """A full disk or a locked database: nothing is lost, and the same is tried again in a second."""
        words = (
            full_words(self._store.path.parent) if out_of_room(self._store.path, error) else f"{error}; trying again"
        )
        now = time.monotonic()
        if str(error) not in self._said or now - self._said[str(error)] > SAY_AGAIN_S:
            log.error("%s", words)
            self._said = {str(error): now}
        notify("WATCHDOG=1")  # alive, and well aware of it
        time.sleep(1.0)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Once: in good order. Once more: without waiting for checkpoints."""
        self._hurrying = self._ending
        self._ending = True
        self._events.put(Wake())

    def _shut_down(self) -> None:
        notify("STOPPING=1")
        self._hands.close()
        self._executor.shutdown(GRACE_S, until_checkpoint(lambda: self._hurrying))
        for courier in self._hands.couriers.values():
            courier.close()
        try:
            self._drain()
            self._store.jobs.recover(time.time())  # jobs that were cut short wait again
            self._store.state.stopped(time.time())
            self._store.checkpoint()
        except (sqlite3.Error, OSError) as e:
            log.error("%s; the next start takes care of it", e)
        self._store.close()
        log.info("stopped")

    def _drain(self) -> None:
        """Results that arrived while everything was being stopped are worth keeping."""
        for event in self._unheard:
            if not isinstance(event, WORDS):
                self._engine.handle(event)
        for event in everything(self._events):
            if not isinstance(event, WORDS):
                self._engine.handle(event)


def everything(events: Reports) -> list[Any]:
    """All that waits in the queue."""
    found: list[Any] = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(events.get_nowait())
    return found


def _once_each(events: list[object]) -> list[object]:
    """Events that wait for better times, each as late as it was last said: an unheard one is said again and again."""
    last: dict[str, object] = {}
    for event in events:
        if not isinstance(event, (Wake, Pulse)):
            last.pop(repr(event), None)
            last[repr(event)] = event
    return list(last.values())
