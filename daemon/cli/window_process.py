"""The window's process, from outside: start it, wait for it, and make sure that none is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from alcore.annotate.order import OPENED, WITH_SAM, Order, Outcome, read_outcome

PROGRAM = (sys.executable, "-m", "alcore.annotate")
POLL_S = 0.2
END_S = 20.0
"""A window that was asked to close has so long to write its draft."""


class WindowProcess:
    """One window. One that loads its libraries is started before it is known what it will show: the first while the patch is
    still claimed, the next while somebody works, so that it opens at once.

    program: command line that opens a window, see `alcore.annotate.__main__`. log: file for whatever the libraries print.
    """

    def __init__(self, program: Sequence[str], log: Path) -> None:
        self._program, self._log = list(program), log
        self._spare: subprocess.Popen[bytes] | None = None
        self._told_sam = False

    def prepare(self, with_sam: bool) -> None:
        """Have a process load its libraries, those of Segment Anything as well where that is known already."""
        if self._spare is None:
            self._spare, self._told_sam = self._spawn(), False
        if with_sam and not self._told_sam:
            self._told_sam = _told(self._spare, WITH_SAM)

    def run(self, order: Order, spare: bool, meanwhile: Callable[[float], None]) -> Outcome | None:
        """Open the window and wait until it is closed; None when it ended without a word. meanwhile is called with the seconds
        that it has been open, a few times a second. Whatever happens here, the window is asked to close, keeping its draft."""
        work = Path(order.work)
        (work / OPENED).unlink(missing_ok=True)
        process = self._start(order)
        began = time.monotonic()
        try:
            while process.poll() is None:
                if spare and self._spare is None and (work / OPENED).is_file():
                    self.prepare(order.weights is not None)
                meanwhile(time.monotonic() - began)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        finally:
            end(process)
        return read_outcome(work)

    def _start(self, order: Order) -> subprocess.Popen[bytes]:
        path = str(order.save())
        waiting, self._spare = self._spare, None
        if waiting is not None:
            if _told(waiting, path):
                return waiting
            end(waiting)
        process = self._spawn()
        _told(process, path)  # one that died already is noticed by whoever waits for it
        return process

    def _spawn(self) -> subprocess.Popen[bytes]:
        """A process that waits for its order, and for the end of stdin: it closes when we are gone, however we went."""
        with open(self._log, "ab") as log:
            # a session of its own: Ctrl-C in the terminal is for us, who then ask the window to close
            return subprocess.Popen(
                [*self._program, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def close(self) -> None:
        """Let the spare go."""
        if self._spare is not None:
            if self._spare.stdin is not None:
                self._spare.stdin.close()
            end(self._spare)

    def last_words(self) -> str:
        """The last line that was printed, for a window that died."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.is_file() else []
        return lines[-1] if lines else "it said nothing"


def _told(process: subprocess.Popen[bytes], line: str) -> bool:
    """Say a line to a process that waits; False when it is not there to hear it."""
    if process.poll() is not None or process.stdin is None:
        return False
    try:
        process.stdin.write(os.fsencode(f"{line}\n"))
        process.stdin.flush()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to close, wait, and kill it when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
