"""Single keys from a terminal, and a screen that is left in good order whatever ends the program."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from types import FrameType, TracebackType

SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end of list",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end of list",
    b"\x1b[Z": "left",
    b"\t": "tab",
    b"\x1b": "escape",
}
END = "end"
"""The terminal is gone: there will be no more keys."""


class Keys:
    """Reads keys while inside; the terminal's settings are restored on the way out. Without a terminal it only waits."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._saved: list[int | list[bytes | int]] = []

    def __enter__(self) -> Keys:
        if sys.stdin is not None and sys.stdin.isatty():
            self._fd = sys.stdin.fileno()
            self._saved = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
            settings = termios.tcgetattr(self._fd)
            settings[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave a shell on our screen
            termios.tcsetattr(self._fd, termios.TCSADRAIN, settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            with contextlib.suppress(termios.error, OSError):  # the terminal may be gone
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)

    def wait(self, timeout_s: float) -> list[str]:
        """Keys pressed within the time, as soon as there are any."""
        if self._fd is None:
            time.sleep(timeout_s)
            return []
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return []
        try:
            data = os.read(self._fd, 256)
        except OSError:
            return [END]
        return names(data) if data else [END]


def names(data: bytes) -> list[str]:
    """What a terminal sent, as names of keys; unknown sequences are left out."""
    found = []
    while data:
        known = next((s for s in sorted(SEQUENCES, key=len, reverse=True) if data.startswith(s)), None)
        if known == b"\x1b" and len(data) > 1:
            break  # a sequence that means nothing to us: the rest belongs to it
        if known is not None:
            found.append(SEQUENCES[known])
            data = data[len(known) :]
        else:
            found.append(chr(data[0]) if 32 <= data[0] < 127 else "")
            data = data[1:]
    return [key for key in found if key]


class EndedBySignal(SystemExit):
    """SIGTERM or SIGHUP arrived: unwinds through every `with`, so that the screen is left in good order."""


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an exception (exit code 128 + signal) instead of at once."""

    numbers = (signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)  # one is enough: nothing may cut the tidying short
        raise EndedBySignal(128 + number)

    saved = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
