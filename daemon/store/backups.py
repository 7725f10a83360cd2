"""Copies of the database in backups/: made whole or not at all, and put back."""

from __future__ import annotations

import calendar
import contextlib
import os
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alcore.artifact import fsync_dir
from alcore.disk import full_words, no_space
from daemon.errors import NoRoomError, UsageError, WorkspaceError
from daemon.store.age import newer_words, unknown
from daemon.store.connection import DATABASE, open_reader, out_of_room
from daemon.store.integrity import move_aside, stamp, unsound

FOLDER = "backups"
NIGHTLY, UPDATE, HAND = "nightly", "update", "hand"
"""Why a backup was made: a night has passed, a newer alscope was about to change the schema, a person asked for it."""
_NAME = re.compile(rf"alscope-(\d{{8}}T\d{{6}}Z)-({NIGHTLY}|{UPDATE}|{HAND})(?:-\d+)?\.db")


@dataclass(frozen=True)
class Backup:
    """One copy. at: when it was made, seconds since the epoch, by its name."""

    path: Path
    kind: str
    at: float


def listing(workspace: Path) -> list[Backup]:
    """All backups of a workspace, the newest first."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in (workspace / FOLDER).iterdir():
            if (said := _NAME.fullmatch(path.name)) and path.is_file():
                at = calendar.timegm(time.strptime(said[1], "%Y%m%dT%H%M%SZ"))
                found.append(Backup(path, said[2], float(at)))
    return sorted(found, key=lambda b: (b.at, b.path.name), reverse=True)


def newest_good(workspace: Path) -> Backup | None:
    """The newest backup that is sound."""
    return next((backup for backup in listing(workspace) if not unsound(backup.path)), None)


def back_up(workspace: Path, kind: str, now: float) -> Path:
    """Copy the database into backups/; a daemon may go on meanwhile. Raises WorkspaceError, NoRoomError."""
    folder = workspace / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise _failed(folder, e) from e
    target = folder / f"alscope-{stamp(now)}-{kind}.db"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"alscope-{stamp(now)}-{kind}-{number}.db"
    copy_to(workspace / DATABASE, target)
    return target


def copy_to(database: Path, target: Path) -> None:
    """Copy a database as it is at one moment, and look the copy over; under its name it is only ever seen whole.

    Raises NoRoomError on a full disk, WorkspaceError for whatever else is in the way: what was there before stays.
    """
    tmp = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with contextlib.closing(open_reader(database)) as reader:
            reader.execute("VACUUM INTO ?", [str(tmp)])
        if bad := unsound(tmp):
            raise WorkspaceError(f"{target}: the copy is not sound ({bad}), so it was not kept")
        _finish(tmp, target)
    except sqlite3.Error as e:
        if out_of_room(tmp, e):
            raise NoRoomError(full_words(target.parent)) from e
        raise WorkspaceError(f"{target}: the database cannot be copied there ({e})") from e
    except OSError as e:
        raise _failed(target, e) from e
    finally:
        tmp.unlink(missing_ok=True)
        Path(f"{tmp}-journal").unlink(missing_ok=True)


def _finish(tmp: Path, target: Path) -> None:
    """Make a written file durable, and give it its name."""
    fd = os.open(tmp, os.O_RDONLY)
    try:
        os.fchmod(fd, 0o640)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(tmp, target)
    fsync_dir(target.parent)


def _failed(path: Path, error: OSError) -> WorkspaceError:
    if no_space(error):
        return NoRoomError(full_words(path.parent))
    return WorkspaceError(f"{path}: cannot be written ({error.strerror or error})")


def prune(workspace: Path, keep: int) -> list[Path]:
    """Of the backups that alscope makes by itself, keep the newest `keep` of each kind; returns those that were removed.

    Those that people asked for stay, and so does the newest sound one of all, however many later ones are damaged.
    """
    found = listing(workspace)
    best = newest_good(workspace)
    removed = []
    for kind in (NIGHTLY, UPDATE):
        for backup in [b for b in found if b.kind == kind][keep:]:
            if best is None or backup.path != best.path:
                backup.path.unlink(missing_ok=True)
                removed.append(backup.path)
    for half_made in (workspace / FOLDER).glob(".*.tmp*"):  # by a process that was killed
        if time.time() - half_made.stat().st_mtime > 3600.0:  # another one may be at work on its own
            half_made.unlink(missing_ok=True)
    return removed


def put_back(workspace: Path, source: Path, now: float, before: Callable[[], None]) -> Path | None:
    """Put a backup in the place of the database, which stays beside it under the name that is returned (None: there was none).

    Only while the lock of the workspace is held. Everything is looked at, and copied, before anything is moved. Raises UsageError
    for what is not a sound backup of this or an older version, NoRoomError. before: called when all is ready for the exchange.
    """
    if not source.is_file():
        raise UsageError(f"{source}: no such file; `alscope restore --list` shows the backups")
    if bad := unsound(source):
        raise UsageError(f"{source}: cannot be restored ({bad}); `alscope restore --list` shows the backups")
    with contextlib.closing(open_reader(source)) as reader:
        if newer := unknown(reader):
            raise UsageError(newer_words(source, newer))
    path = workspace / DATABASE
    tmp = workspace / f".{DATABASE}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        shutil.copyfile(source, tmp)
        if bad := unsound(tmp):
            raise WorkspaceError(f"{tmp}: the copy is not sound ({bad}); nothing was changed")
        _fold(path)
        before()
        replaced = move_aside(path, "replaced", now)
        _finish(tmp, path)
    except OSError as e:
        raise _failed(path, e) from e
    finally:
        tmp.unlink(missing_ok=True)
    return replaced


def _fold(path: Path) -> None:
    """Have the write-ahead log in the database file where that works, so that the one replaced is whole in one file."""
    if path.is_file():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
