"""What happens when the daemon finds its database damaged, emptied or gone: nothing is deleted, and nobody is left without a word."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from daemon.errors import DamagedError, WorkspaceError
from daemon.found import REBUILT, ask_for_it
from daemon.store.backups import listing, newest_good
from daemon.store.connection import DATABASE
from daemon.store.integrity import move_aside
from daemon.store.store import Store
from daemon.workspace import Workspace

log = logging.getLogger("alscope")


def open_store(workspace: Workspace, now: float) -> Store:
    """The store. Where the database is lost and there is a sound backup, people choose: WorkspaceError says how. Where there is
    none, the damaged one is moved aside and a new one begun, for which everything is found again on the disk.

    Raises WorkspaceError, NoRoomError.
    """
    lost = _lost(workspace)
    if not lost:
        try:
            return Store(workspace.root)
        except DamagedError as e:
            lost = str(e).partition(";")[0]
    if best := newest_good(workspace.root):
        raise WorkspaceError(
            f"{lost}; the newest sound backup is of {clock(best.at)}: `alscope restore` puts it back, "
            "`alscope restore --rebuild` begins without it from the files on the disk"
        )
    log.error("%s, and there is no sound backup: a new database is made from the files on the disk", lost)
    begin_anew(workspace, f"{lost}, and there was no sound backup", now)
    return Store(workspace.root)


def begin_anew(workspace: Workspace, why: str, now: float) -> Path | None:
    """Move the database aside, and have the next daemon find again what lies on the disk. Only while the lock is held. Returns
    where the former database is now, None where there was none."""
    ask_for_it(workspace, REBUILT, why, now)
    return move_aside(workspace.root / DATABASE, "damaged", now)


def _lost(workspace: Workspace) -> str:
    """Words for a database that is empty or gone although there was one; "" otherwise."""
    path = workspace.root / DATABASE
    empty = path.is_file() and path.stat().st_size == 0 and not _has_log(path)
    if path.is_file() and not empty:
        return ""
    used = bool(listing(workspace.root)) or any(workspace.root.glob("artifacts/??/*"))
    used = used or any(workspace.root.glob("labels/received/*"))
    return f"{path}: the database is {'empty' if empty else 'gone'}" if used else ""


def _has_log(path: Path) -> bool:
    """Is everything still in the write-ahead log? A daemon that was killed at its first start leaves it so."""
    log_file = path.with_name(path.name + "-wal")
    return log_file.is_file() and log_file.stat().st_size > 0


def clock(at: float) -> str:
    """A moment for people, in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
