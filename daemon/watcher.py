"""File events as hints: they only wake the scan. A lost event costs a delay, never a file."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

log = logging.getLogger("alscope.watcher")

EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


class _Hint(FileSystemEventHandler):
    """Does nothing but call `wake`: an exception in a handler would end watchdog's dispatch thread for good."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        with contextlib.suppress(Exception):
            self._wake()


class Watcher:
    """Watches folders recursively and calls `wake` when something happens in one of them.

    `supervise` must be called now and then: it notices an observer that died, and a folder that was unmounted,
    replaced or came back, and watches afresh.
    """

    def __init__(self, folders: list[Path], wake: Callable[[], None]) -> None:
        warnings.filterwarnings("ignore", module="watchdog")  # many kilobytes for every directory that races with it
        self._folders = folders
        self._handler = _Hint(wake)
        self._wake = wake
        self._observer: Any = None
        self._watched: dict[Path, tuple[int, int]] = {}
        self._problems: list[str] = []
        self._lock = threading.Lock()

    def supervise(self) -> list[str]:
        """Bring the watches in line with what is there; returns what is wrong, in words."""
        with self._lock:
            present = {f: i for f in self._folders if (i := _identity(f)) is not None}
            if not self._healthy() or present != self._watched:
                self._close()
                self._problems = self._open(present)
                self._wake()  # what happened meanwhile raised no event
            return self._problems

    def hears_all(self) -> bool:
        """Was every folder there and watched when `supervise` last looked, and is it still?"""
        with self._lock:
            return not self._problems and len(self._watched) == len(set(self._folders)) and self._healthy()

    def _healthy(self) -> bool:
        observer = self._observer
        return observer is not None and observer.is_alive() and all(e.is_alive() for e in observer.emitters)

    def _open(self, present: dict[Path, tuple[int, int]]) -> list[str]:
        observer = Observer()
        problems = []
        for folder in present:
            try:
                observer.schedule(self._handler, str(folder), recursive=True, event_filter=EVENTS)
            except OSError as e:
                problems.append(
                    f"{folder}: no file events ({e.strerror or e}); the periodic scan still finds every file"
                )
        try:
            observer.start()
        except OSError as e:
            observer.stop()  # it never ran, but has begun to watch what it could
            return [f"no file events ({e.strerror or e}); the periodic scan still finds every file"]
        self._observer, self._watched = observer, present
        return problems

    def _close(self) -> None:
        observer, self._observer, self._watched = self._observer, None, {}
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(5)

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._close()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
