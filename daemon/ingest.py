"""The scan that finds every file, and the settling that waits until it is whole. Runs in a thread of its own; only reports."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alcore import fileset
from alcore.fileset import Fingerprint, is_temporary
from daemon.settle import Settling, is_wanted, settle

log = logging.getLogger("alscope.ingest")

TICK_S = 0.5
"""How often candidates (not the whole folder) are looked at while there are any."""


@dataclass(frozen=True)
class Folder:
    """A folder to scan. watch: its number in config.toml, or INBOX."""

    path: Path
    watch: int
    settle_s: float
    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()


INBOX = -1
"""The `watch` number of the label inbox."""


@dataclass(frozen=True)
class Arriving:
    """A file that is not known to be whole."""

    path: bytes
    watch: int
    size: int
    fingerprint: str
    why: str


@dataclass(frozen=True)
class Settled:
    """A file that has stopped changing. Reported again and again until it is acknowledged or changes."""

    path: bytes
    watch: int
    size: int
    fingerprint: str


@dataclass(frozen=True)
class Gone:
    """A file that is no longer (gone) or again (not gone) where it was, while its folder is reachable."""

    path: bytes
    gone: bool


@dataclass(frozen=True)
class Reachable:
    """A watched folder that can or cannot be listed."""

    folder: Path
    error: str


@dataclass
class _FolderState:
    settling: dict[bytes, Settling] = field(default_factory=dict)
    reported: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    error: str | None = None


class Ingest(threading.Thread):
    """Scans the folders when woken (by an event, a timer or a person); between scans looks only at the candidates."""

    def __init__(
        self,
        folders: list[Folder],
        report: Callable[[Any], None],
        known: Mapping[bytes, tuple[str, bool]],
    ) -> None:
        super().__init__(name="ingest", daemon=True)
        self._folders = {folder: _FolderState() for folder in folders}
        self._report = report
        self._known = {path: fingerprint for path, (fingerprint, _) in known.items()}
        self._gone = {path for path, (_, gone) in known.items() if gone}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._woken.set()  # the first scan needs no hint
        self._ended = threading.Event()

    def wake(self) -> None:
        """Something may have happened: scan soon."""
        self._woken.set()

    def acknowledge(self, path: bytes, fingerprint: str) -> None:
        """This file, as it is, needs no more settling."""
        with self._lock:
            self._known[path] = fingerprint

    def forget(self, path: bytes) -> None:
        """Treat the file as never seen, so that it settles afresh."""
        with self._lock:
            self._known.pop(path, None)
        self.wake()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._woken.set()
        self.join()

    def run(self) -> None:
        """Until closed: look, report, wait."""
        while not self._ended.is_set():
            hinted = self._woken.is_set()
            self._woken.clear()
            for folder, state in self._folders.items():
                try:
                    self._look(folder, state, hinted)
                except Exception:
                    log.exception("scan of %s failed; it is tried again", folder.path)
            busy = any(state.settling for state in self._folders.values())
            self._woken.wait(TICK_S if busy else None)
            if self._woken.is_set() and not self._ended.is_set():
                self._ended.wait(0.1)  # let a burst of events pass before the folder is walked

    def _look(self, folder: Folder, state: _FolderState, hinted: bool) -> None:
        if hinted:
            self._scan(folder, state)
        for path in list(state.settling):
            self._consider(folder, state, path, time.monotonic())

    def _scan(self, folder: Folder, state: _FolderState) -> None:
        """Walk the whole folder: new and changed files become candidates, missing ones are reported."""
        try:
            seen = dict(_walk(os.fsencode(folder.path), folder))
            error = ""
        except OSError as e:
            seen, error = {}, e.strerror or str(e)
        if error != state.error and folder.watch >= 0:
            self._report(Reachable(folder.path, error))
        state.error = error
        if error:
            return
        with self._lock:
            known = dict(self._known)
        for path, fingerprint in seen.items():
            if path in self._gone:
                self._gone.discard(path)
                self._report(Gone(path, False))
            if known.get(path) != fingerprint.to_text() and path not in state.settling:
                state.settling[path] = Settling(fingerprint, time.monotonic())
        prefix = os.fsencode(folder.path) + b"/"
        missing = {p for p in (*known, *state.reported) if p.startswith(prefix)} - seen.keys() - self._gone
        for path in missing:
            state.settling.pop(path, None)
            state.reported.pop(path, None)
            self._gone.add(path)
            self._report(Gone(path, True))

    def _consider(self, folder: Folder, state: _FolderState, path: bytes, now: float) -> None:
        """One look at a candidate."""
        fingerprint = fingerprint_of(path)
        if fingerprint is None:
            del state.settling[path]
            self.wake()  # the next scan reports it missing
            return
        text = fingerprint.to_text()
        with self._lock:
            if self._known.get(path) == text:
                del state.settling[path]
                state.reported.pop(path, None)
                return
        answer = settle(state.settling[path], fingerprint, now, folder.settle_s, None)
        if answer.whole:
            answer = settle(state.settling[path], fingerprint, now, folder.settle_s, open_for_writing(path))
        state.settling[path] = answer.state
        if answer.whole:
            self._report(Settled(path, folder.watch, fingerprint.size, text))
        elif state.reported.get(path) != (text, answer.why.split(",")[0]):
            state.reported[path] = (text, answer.why.split(",")[0])
            self._report(Arriving(path, folder.watch, fingerprint.size, text, answer.why))


def _walk(root: bytes, folder: Folder) -> Iterator[tuple[bytes, Fingerprint]]:
    """Every wanted regular file below a folder; links are not followed, a vanishing subfolder is skipped."""
    with os.scandir(root) as entries:
        subfolders = []
        for entry in entries:
            name = os.fsdecode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not is_temporary(name):
                    subfolders.append(entry.path)
            elif is_wanted(name, folder.include, folder.exclude) and entry.is_file(follow_symlinks=False):
                fingerprint = fingerprint_of(entry.path)
                if fingerprint is not None:
                    yield entry.path, fingerprint
    for path in subfolders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from _walk(path, folder)


def fingerprint_of(path: bytes) -> Fingerprint | None:
    """The file's fingerprint, or None when there is no such regular file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return fileset.fingerprint_of(path) if stat.S_ISREG(found.st_mode) else None


def open_for_writing(path: bytes) -> bool | None:
    """Does a process of this machine hold the file open for writing? None when that cannot be known.

    A read lease is refused by the kernel while a writer exists. SIGIO, which would announce a writer that comes while
    the lease is held, must be ignored by the process (`service` does).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(fd)
