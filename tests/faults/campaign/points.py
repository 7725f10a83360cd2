"""Crash points: the n-th side effect of a process fails, or is its last. The product knows nothing of it.

Counted are what the interpreter itself announces before it happens (files opened for writing, renamed, deleted, made, protected;
processes started) and, through wrappers, fsync and the commits of SQLite, before and after. Only what lies in the workspace counts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "ALSCOPE_TEST_CRASH"
"""Environment variable with the plan (JSON) for a process that is started with `site/` on its path."""
KILLS = ("kill", "power")
"""power: as kill, and every file that was written and not synced since has lost its second half, wherever it was renamed to."""
ERRORS = ("ENOSPC", "EIO", "EROFS")
_PATHS = {
    "os.rename": ("rename", 2),
    "os.remove": ("delete", 1),
    "os.rmdir": ("delete", 1),
    "os.mkdir": ("make", 2),
    "os.chmod": ("mode", 2),
    "os.truncate": ("write", None),
}
"""Event -> what it is, and where its arguments have the descriptor of the folder that a relative path is in."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = {"ENOSPC": ("delete", "mode", "spawn")}
"""What a full disk does not hinder."""


@dataclass(frozen=True)
class Plan:
    """What happens at which side effect below `root`, counted from 1. until: the last that fails, of those that fail.

    token: a file whose removal gives the right to act, so that of several processes one does. told: a file that gets the point's
    name. who: a word of the command line of the processes that are meant.
    """

    action: str
    at: int
    root: str
    until: int = 0
    told: str = ""
    token: str = ""
    who: str = ""


class Points:
    """Counts side effects of this process once `arm` was called; one per process, since audit hooks cannot be taken back."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.count = 0
        self._dirty: set[str] = set()
        """Files that were opened for writing and not synced since."""
        self._lock = threading.Lock()
        self._busy = threading.local()

    def arm(self, plan: Plan) -> None:
        self.plan = plan
        sys.addaudithook(self._audit)
        plain_fsync = os.fsync

        def fsync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}")
            self._hit("fsync", path)
            plain_fsync(fd)
            self._dirty.discard(path)

        os.fsync = fsync
        plain_connect = sqlite3.connect

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return plain_connect(*arguments, **({"factory": _Counted} | options))

        sqlite3.connect = connect  # type: ignore[assignment]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What this thread does inside is the work of others, and does not count."""
        before, self._busy.now = self._is_paused(), True
        try:
            yield
        finally:
            self._busy.now = before

    def _is_paused(self) -> bool:
        return getattr(self._busy, "now", False)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & _WRITING:
                self._hit("write", os.fsdecode(path))
                if not self._is_paused():
                    self._dirty.add(os.fsdecode(path))
        elif event == "subprocess.Popen":
            self._hit("spawn", "")
        elif event in _PATHS:
            kind, at = _PATHS[event]
            if not isinstance(arguments[0], int):
                self._hit(kind, _located(os.fsdecode(arguments[0]), -1 if at is None else arguments[at]))
            if event == "os.rename":
                self._renamed(os.fsdecode(arguments[0]), os.fsdecode(arguments[1]))

    def _renamed(self, old: str, new: str) -> None:
        """A file, or all that lies in a folder; what is not synced under its new name takes the place of what was."""
        for path in [p for p in self._dirty if p == old or p.startswith(f"{old}/")]:
            self._dirty.remove(path)
            self._dirty.add(new + path[len(old) :])

    def _hit(self, kind: str, path: str) -> None:
        plan = self.plan
        if plan is None or self._is_paused() or (path and not path.startswith(plan.root)):
            return
        with self._lock:
            self.count += 1
            number = self.count
        if plan.action in KILLS:
            if number == plan.at:
                with self.paused():
                    self._die(plan, kind, path)
        elif plan.at <= number <= plan.until and kind not in _HARMLESS.get(plan.action, ()):
            with self.paused():
                self._tell(plan, kind, path)
            raise self._error(plan, kind, path)

    def _die(self, plan: Plan, kind: str, path: str) -> None:
        if plan.token:
            try:
                os.unlink(plan.token)
            except FileNotFoundError:
                return  # another process was first
        self._tell(plan, kind, path)
        if plan.action == "power":
            for written in self._dirty:
                if written.startswith(plan.root) and os.path.isfile(written):
                    os.chmod(written, 0o600)
                    os.truncate(written, os.path.getsize(written) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, plan: Plan, kind: str, path: str) -> None:
        if plan.told:
            with open(plan.told, "a") as f:
                f.write(f"{kind} {path.removeprefix(plan.root)}\n")

    def _error(self, plan: Plan, kind: str, path: str) -> Exception:
        number = getattr(errno, plan.action)
        if kind != "commit":
            return OSError(number, os.strerror(number), path)
        words, code = {
            "ENOSPC": ("database or disk is full", sqlite3.SQLITE_FULL),
            "EIO": ("disk I/O error", sqlite3.SQLITE_IOERR),
            "EROFS": ("attempt to write a readonly database", sqlite3.SQLITE_READONLY),
        }[plan.action]
        error = sqlite3.OperationalError(words)
        error.sqlite_errorcode = code
        return error


class _Counted(sqlite3.Connection):
    """A connection whose commits count, before and after."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        word = sql.lstrip()[:6].upper()
        commits = word == "COMMIT" or (not self.in_transaction and word in ("INSERT", "UPDATE", "DELETE"))
        if commits:
            POINTS._hit("commit", "")
        done = super().execute(sql, *arguments)
        if commits and POINTS.plan is not None and POINTS.plan.action in KILLS:
            POINTS._hit("committed", "")
        return done


def _located(path: str, folder_fd: Any) -> str:
    if not os.path.isabs(path) and isinstance(folder_fd, int) and folder_fd >= 0:
        return f"{os.readlink(f'/proc/self/fd/{folder_fd}')}/{path}"
    return path


POINTS = Points()


def environment(plan: Plan) -> dict[str, str]:
    """For a process, and all that it starts, to be armed with this plan."""
    here = Path(__file__).resolve()
    path = [str(here.parent / "site"), str(here.parents[3])]
    return {VARIABLE: json.dumps(asdict(plan)), "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}


def arm_from_environment() -> None:
    """Called as the interpreter starts."""
    if VARIABLE in os.environ:
        plan = Plan(**json.loads(os.environ[VARIABLE]))
        if plan.who in sys.orig_argv:
            POINTS.arm(plan)
