"""Checks of `alscope doctor`: can the workspace be written, is it on a local disk, is there room, and how much does it take?"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.disk import free_gb
from daemon.errors import WorkspaceError
from daemon.look import reading
from daemon.retention import pressure
from daemon.store.connection import NETWORK_FILE_SYSTEMS, file_system_of
from daemon.store.room_listing import room_view
from daemon.wording_room import room_words

FOLDERS = ("inbox", "commands", "queue", "drafts", "labels", "rejected", "predictions", "artifacts", "cache", "jobs")
FEW_FILES = 50_000
"""Files that a file system must have room for: a queue, its artifacts and its jobs are many small ones."""


def _there(root: Path) -> Path:
    """The nearest folder that exists."""
    return next(p for p in (root, *root.parents) if p.exists())


def workspace(settings: Settings) -> Iterator[Check]:
    """On a local disk, and all of it writable by this user?"""
    root = settings.workspace
    there = _there(root)
    kind = file_system_of(there)
    if kind in NETWORK_FILE_SYSTEMS:
        mend = (
            "set `workspace` in config.toml to a folder on a local disk: SQLite can lose data on network file systems"
        )
        yield Check("workspace", "fail", f"{root}: on a network file system ({kind})", mend)
        return
    probe = there / f".alscope-doctor-{uuid.uuid4().hex[:8]}"
    try:
        with open(probe, "wb") as f:
            f.write(b"x")
            os.fsync(f.fileno())
        os.rename(probe, probe.with_suffix(".moved"))
    except OSError as e:
        yield Check("workspace", "fail", f"{there}: cannot be written ({e.strerror})", how_to_write(there, e.errno))
        return
    finally:
        for left in (probe, probe.with_suffix(".moved")):
            if left.exists():
                left.unlink()
    if shut := [name for name in FOLDERS if (root / name).is_dir() and not os.access(root / name, os.W_OK | os.X_OK)]:
        found = f"{root}: this user may not write {', '.join(shut)} (of {owner(root / shut[0])})"
        yield Check("workspace", "fail", found, how_to_write(root, errno.EACCES))
        return
    if there == root and root.stat().st_mode & stat.S_IWOTH:
        found = f"{root}: everybody on this machine may write to it, and so exchange labels and models"
        yield Check("workspace", "warn", found, f"chmod o-rwx {root}")
        return
    yield Check("workspace", "ok", f"{root} ({kind})" + ("" if there == root else ", made at the first start"))


def owner(path: Path) -> str:
    """Name of the user to whom a file belongs."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def how_to_write(folder: Path, code: int | None) -> str:
    """What to do when a folder cannot be written."""
    if code == errno.EROFS:
        return (
            "its disk is mounted read-only: mount it for writing; after a disk error the system does that (see dmesg)"
        )
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space on the disk of {folder}, or of your quota"
    return f"run alscope as the user to whom it belongs ({owner(folder)}), or: sudo chown -R $USER {folder}"


def room(settings: Settings) -> Check:
    """Space, and places for files."""
    there = _there(settings.workspace)
    free, least = free_gb(there), settings.run.min_free_gb
    found = f"{free:.1f} GB free, run.min_free_gb = {least:g}"
    mend = f"free some space on the disk of {there}, or put the workspace elsewhere"
    if free < least:
        return Check("disk", "fail", found + ": no work is started", mend)
    files = os.statvfs(there)
    if files.f_files and files.f_favail < FEW_FILES:
        found = f"{free:.1f} GB free, but room for {files.f_favail} more files only"
        return Check("disk", "warn", found, f"remove many small files from the disk of {there}, or choose another disk")
    return Check("disk", "ok", found) if free > 5 * least else Check("disk", "warn", found, mend)


def budget(settings: Settings) -> Iterator[Check]:
    """What the workspace takes, as the daemon measured it last; nothing before that."""
    try:
        with reading(settings.workspace) as db:
            found = room_view(db)
    except WorkspaceError:
        return  # the check of the database says why
    if found is None:
        return
    limit = settings.disk.budget_gb * 1e9
    words = f"the workspace takes {room_words(replace(found, budget_bytes=int(limit)))}"
    mend = "`alscope status --disk` shows where it went; raise disk.budget_gb, or remove what is yours"
    standing = pressure(found.total, limit, False)
    if standing == "full":
        yield Check("budget", "fail", words + ": no work is started", mend)
    else:
        yield Check("budget", "warn", words, mend) if standing else Check("budget", "ok", words)
