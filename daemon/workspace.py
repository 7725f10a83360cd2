"""The folders of a workspace, and the lock that keeps a second daemon out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alcore.disk import full_words, no_space
from daemon.errors import AlreadyRunningError, NoRoomError, WorkspaceError

if TYPE_CHECKING:
    from alcore.artifact import ArtifactStore
    from daemon.executors.port import Places


@dataclass(frozen=True)
class Workspace:
    """Where everything of one alscope lies."""

    root: Path

    @property
    def artifacts(self) -> ArtifactStore:
        """Immutable results by recipe."""
        from alcore.artifact import ArtifactStore  # not needed to look something up, and a tenth of a second

        return ArtifactStore(self.root / "artifacts")

    @property
    def places(self) -> Places:
        """What workers need to know."""
        from daemon.executors.port import Places

        return Places(artifacts=self.root / "artifacts", cache=self.root / "cache", jobs=self.root / "jobs")

    @property
    def queue(self) -> Path:
        """One folder per suggestion, for people."""
        return self.root / "queue"

    @property
    def inbox(self) -> Path:
        """Where people save labels."""
        return self.root / "inbox"

    @property
    def drafts(self) -> Path:
        """Unfinished work of the annotation window, one folder per suggestion."""
        return self.root / "drafts"

    @property
    def labels(self) -> Path:
        """Accepted labels, for people, and received/ with every file as it came."""
        return self.root / "labels"

    @property
    def predictions(self) -> Path:
        """One segmentation per volume, for people."""
        return self.root / "predictions"

    @property
    def report(self) -> Path:
        """The page that says how it stands, its figures, and its numbers."""
        return self.root / "report"

    @property
    def rejected(self) -> Path:
        """Labels that failed their checks, each with the reason beside it."""
        return self.root / "rejected"

    @property
    def found(self) -> Path:
        """What was made since a backup that was put back, or before the database was lost: kept for people, used by nobody."""
        return self.root / "found"

    @property
    def commands(self) -> Path:
        """What people ask of the daemon through the command line."""
        return self.root / "commands"

    @property
    def lock_file(self) -> Path:
        """Held by the running daemon; tells who that is."""
        return self.root / "alscope.lock"

    def make(self) -> None:
        """Create the folders. Raises WorkspaceError, NoRoomError when the disk is full."""
        try:
            if not self.root.exists():
                self.root.parent.mkdir(parents=True, exist_ok=True)
                self.root.mkdir(mode=0o750, exist_ok=True)  # unpublished images are nobody's business
            for folder in (
                self.root / "artifacts" / ".staging",
                self.places.cache,
                self.places.jobs,
                self.queue,
                self.inbox,
                self.drafts,
                self.labels / "received",
                self.predictions,
                self.rejected,
                self.commands,
            ):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            if no_space(e):
                raise NoRoomError(full_words(self.root.parent)) from e
            raise WorkspaceError(
                f"{e.filename}: the workspace cannot be created ({e.strerror}); check `workspace`"
            ) from e


class Lock:
    """An exclusive lock on the workspace, released by the kernel whatever happens to the process."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.lock_file
        self._fd: int | None = None

    def take(self) -> None:
        """Raises AlreadyRunningError naming the holder, NoRoomError when the disk is full."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as e:
            if no_space(e):
                raise NoRoomError(full_words(self._path.parent)) from e
            raise
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = read_holder(self._path)
            who = f"pid {holder['pid']}, since {_clock(holder['since'])}" if holder else "an unknown process"
            raise AlreadyRunningError(
                f"{self._path.parent}: another alscope daemon holds this workspace ({who}); "
                "stop it first, or use another workspace"
            ) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"pid": os.getpid(), "since": time.time()}).encode(), 0)
        except OSError as e:
            os.close(fd)
            if no_space(e):
                raise NoRoomError(full_words(self._path.parent)) from e
            raise
        self._fd = fd

    def release(self) -> None:
        """Let go; the file stays, empty."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def read_holder(path: Path) -> dict[str, float] | None:
    """{"pid", "since"} of the process that holds the lock now, or None."""
    try:
        holder: dict[str, float] = json.loads(path.read_bytes())
        os.kill(int(holder["pid"]), 0)
    except PermissionError:
        return holder  # it exists and is somebody else's
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if _is_alscope(int(holder["pid"]), path) else None


def _is_alscope(pid: int, lock: Path) -> bool:
    """Is this pid the process that has the lock file open (and not a later one with the same number)?"""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return True
    except OSError:
        return not os.path.isdir("/proc/self")  # no /proc on this system: a living pid has to do
    real = os.path.realpath(lock)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{descriptor}") == real:
                return True
    return False


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
