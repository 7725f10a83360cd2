"""The daemon: takes the lock, wires the hands to the engine, turns signals into a quick and orderly end."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import sqlite3
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import alcore
from alcore.disk import full_words
from daemon.alarming import couriers
from daemon.arrival import Settled
from daemon.config import Settings
from daemon.device import device, threads
from daemon.engine import Engine, is_sighting
from daemon.errors import NoRoomError, WorkspaceError
from daemon.executors.port import Reports
from daemon.executors.process import Lane, ProcessExecutor
from daemon.ingest import Ingest
from daemon.store.connection import NETWORK_FILE_SYSTEMS, file_system_of, out_of_room
from daemon.store.store import Store
from daemon.timers import Timers
from daemon.walk import INBOX, Folder
from daemon.watcher import Watcher
from daemon.workspace import Lock, Workspace

log = logging.getLogger("alscope")

GRACE_S = 3.0
"""A stopped daemon gives its workers so long to reach a checkpoint; what they lose is at most one epoch."""
PLAN_EVERY_S = 5.0
PULSE_EVERY_S = 10.0
CHECKPOINT_EVERY_S = 300.0
REMOTE_RESCAN_S = 10.0
"""Folders on network file systems are scanned so often: events tell nothing of what other machines write."""
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
    finally:
        lock.release()


class Service:
    """One daemon on one workspace. The engine's thread is the main thread."""

    def __init__(self, settings: Settings, workspace: Workspace) -> None:
        self._settings = settings
        self._events: Reports = queue.SimpleQueue()
        self._ending = False
        self._said: dict[str, float] = {}
        self._unheard: list[object] = []
        self._store = Store(workspace.root)
        processor = device(settings.run)
        cores = threads(settings.run)
        lanes = [Lane(False, 1)] * settings.run.workers + [Lane(True, cores)]
        self._executor = ProcessExecutor(workspace.places, self._events, lanes, settings.run.nice)
        self._ingest = Ingest(
            self._folders(workspace), self._events.put, self._store.sources.known(), self._store.sources.identities()
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
            ingest=self._ingest,
        )
        self._couriers = couriers(settings, workspace, self._events.put)
        self._engine.alarming.ways = {channel: c.send for channel, c in self._couriers.items()}
        folders = [watch.folder for watch in settings.watch]
        self._watcher = Watcher([*folders, workspace.inbox, workspace.commands], self._hint)
        self._timers = Timers(
            {
                "rescan": (settings.run.rescan_s, self._ingest.wake),
                "rescan_remote": (min(REMOTE_RESCAN_S, settings.run.rescan_s), self._rescan_remote),
                "plan": (PLAN_EVERY_S, lambda: self._events.put(Wake())),
                "pulse": (PULSE_EVERY_S, lambda: self._events.put(Pulse())),
                "checkpoint": (CHECKPOINT_EVERY_S, lambda: self._events.put(Checkpoint())),
            }
        )

    def _folders(self, workspace: Workspace) -> list[Folder]:
        watched = [
            Folder(watch.folder, number, watch.settle_s, watch.include, watch.exclude, watch.slices, watch.marker)
            for number, watch in enumerate(self._settings.watch)
        ]
        return [*watched, Folder(workspace.inbox, INBOX, self._settings.inbox.settle_s, ("*",))]

    def _rescan_remote(self) -> None:
        """Scan, if any watched folder lies on a network file system just now."""
        if any(file_system_of(watch.folder) in NETWORK_FILE_SYSTEMS for watch in self._settings.watch):
            self._ingest.wake()

    def _hint(self) -> None:
        self._ingest.wake()
        self._events.put(Wake())

    def run(self) -> None:
        """Until a signal says otherwise."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGHUP, self._end)
        if hasattr(signal, "SIGIO"):
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # a broken lease (see ingest.open_for_writing) is no emergency
        try:
            self._take_over()
            self._ingest.start()
            self._timers.start()
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
            self._engine.tick()
        except (sqlite3.OperationalError, OSError) as e:
            self._wait_out(e)

    def _one(self, event: object) -> None:
        if isinstance(event, Pulse):
            self._supervise()
            self._engine.pulse()
            notify("WATCHDOG=1")
        elif isinstance(event, Checkpoint):
            self._engine.housekeeping()
        elif not isinstance(event, Wake):
            self._engine.handle(event)

    def _supervise(self) -> None:
        """Are the watcher, the scan and the timers alive?"""
        wrong = "; ".join(self._watcher.supervise())
        if not wrong:
            self._store.state.solved("watcher", "events")
        elif self._store.state.problem("watcher", "events", wrong, time.time()):
            log.warning("%s", wrong)
        if self._timers.check_clock():
            log.warning("the clock was set; timers restarted")
        if self._ingest.ident is not None and not self._ingest.is_alive():
            raise WorkspaceError("the scan of the watched folders has died; restarting is the only remedy")

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
        self._ending = True
        self._events.put(Wake())

    def _shut_down(self) -> None:
        notify("STOPPING=1")
        self._timers.close()
        self._watcher.close()
        if self._ingest.ident is not None:
            self._ingest.close()
        self._executor.shutdown(GRACE_S)
        for courier in self._couriers.values():
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
            if not isinstance(event, (Wake, Pulse, Checkpoint)):
                self._engine.handle(event)
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if not isinstance(event, (Wake, Pulse, Checkpoint)):
                self._engine.handle(event)


def _once_each(events: list[object]) -> list[object]:
    """Events that wait for better times, each as late as it was last said: an unheard one is said again and again."""
    last: dict[str, object] = {}
    for event in events:
        if not isinstance(event, (Wake, Pulse)):
            last.pop(repr(event), None)
            last[repr(event)] = event
    return list(last.values())


def boot_id() -> str:
    """Name of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def notify(message: str) -> None:
    """Tell systemd (sd_notify protocol); does nothing when it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.connect(address)
        s.sendall(message.encode())


def set_up_logging(verbose: bool) -> None:
    """One line per event on stderr, where systemd's journal picks it up."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    logging.getLogger("watchdog").setLevel(logging.WARNING)
