"""Carries alarms out of the house, off the daemon's loop: to a command of the user's (no shell; see `daemon.webhook` for the other)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.alarms import filled
from daemon.secrecy import for_others

log = logging.getLogger("alscope.alarms")

POLL_S = 0.1
MOST_SAID = 300


@dataclass(frozen=True)
class Letter:
    """Alarms that are told together. kind: of the first; message: one line; payload: all of it."""

    ids: tuple[int, ...]
    kind: str
    message: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Delivered:
    """An event: what became of a letter. error: "" when it arrived."""

    channel: str
    ids: tuple[int, ...]
    error: str


Carry = Callable[[Letter, threading.Event], str]
"""Delivers a letter, gives up when the event is set, returns what went wrong or ""."""


class Courier:
    """One thread for one way out; a way that hangs delays nobody but itself."""

    def __init__(self, channel: str, carry: Carry, report: Callable[[Delivered], None]) -> None:
        self._channel, self._carry, self._report = channel, carry, report
        self._letters: queue.SimpleQueue[Letter | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"alarms by {channel}", daemon=True)
        self._thread.start()

    def send(self, letter: Letter) -> None:
        """Have a letter delivered; the outcome is reported."""
        self._letters.put(letter)

    def _work(self) -> None:
        while (letter := self._letters.get()) is not None and not self._ending.is_set():
            try:
                error = self._carry(letter, self._ending)
            except Exception as e:  # the thread must live on: this way out fails, and it is said
                log.exception("alarms by %s", self._channel)
                error = f"{type(e).__name__}: {e}"
            if not self._ending.is_set():
                self._report(Delivered(self._channel, letter.ids, error))

    def close(self, wait_s: float = 1.0) -> None:
        """End it; what is under way is given up, and delivered by the next daemon."""
        self._ending.set()
        self._letters.put(None)
        self._thread.join(wait_s)


def by_command(words: Sequence[str], timeout_s: float, folder: Path) -> Carry:
    """Run a program: {message} and {kind} in its words are filled in, everything stands as JSON on its standard input."""

    def carry(letter: Letter, ending: threading.Event) -> str:
        argv = filled(words, {"message": letter.message, "kind": letter.kind})
        environment = for_others(os.environ)
        # files instead of pipes: neither a program that reads nothing nor a child that it leaves behind can hold us up
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:
            told.write(json.dumps(letter.payload).encode())
            told.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=told,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as e:
                return f"{words[0]}: cannot be run ({getattr(e, 'strerror', None) or e})"
            code = _wait(process, timeout_s, ending)
            if code == 0:
                return ""
            said.seek(0)
            last = said.read(1 << 16).decode(errors="replace").strip().splitlines()[-1:]
            how = f"took more than {timeout_s:g} s" if code is None else f"ended with {code}"
            return f"{words[0]}: {how}" + "".join(f": {line[:MOST_SAID]}" for line in last)

    return carry


def _wait(process: subprocess.Popen[bytes], timeout_s: float, ending: threading.Event) -> int | None:
    """The exit code; None when it took too long, or the daemon ends: then it is killed with all that it has started."""
    waited = 0.0
    while waited < timeout_s and not ending.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        waited += POLL_S
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None


def here() -> str:
    """The name of this machine."""
    return socket.gethostname()
