"""Checks of `alscope doctor`: can the watched folders be seen and read, and does the system tell of new files?"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from daemon.cli.checking import Check
from daemon.config import Settings, Watch
from daemon.settle import is_wanted
from daemon.store.connection import NETWORK_FILE_SYSTEMS, file_system_of
from daemon.wording import count, duration

MANY = 20_000
"""So many folders or files are looked at; more are not counted."""
ANSWER_S = 10.0
"""A folder that does not answer for so long is on a server that is away."""
INOTIFY = Path("/proc/sys/fs/inotify")
PROCESSES = Path("/proc")


def watched_folder(watch: Watch, rescan_s: float) -> Iterator[Check]:
    """There, answering, readable with all that is in it, and of the same time?"""
    name, folder = "watched folder", watch.folder
    found: list[tuple[float, list[str]] | OSError] = []

    def look() -> None:
        try:
            found.append(_newest_and_shut(watch))
        except OSError as e:
            found.append(e)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(ANSWER_S)
    if not found:
        mend = "its server is away, or very busy: see that it is reachable, then unmount and mount the folder again"
        yield Check(name, "fail", f"{folder}: no answer within {ANSWER_S:g} s", mend)
        return
    if isinstance(found[0], OSError):
        mend = "make it, mount it, or correct `folder` in config.toml; give this user the right to read it"
        yield Check(name, "fail", f"{folder}: {found[0].strerror}", mend)
        return
    newest, shut = found[0]
    kind = file_system_of(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        from daemon.hands import REMOTE_RESCAN_S

        mend = (
            f"nothing needs mending: new files are found by a scan every {min(REMOTE_RESCAN_S, rescan_s):g} s (run.rescan_s); "
            "a marker file shortens the wait (watch.marker)"
        )
        yield Check(name, "warn", f"{folder}: on a network share ({kind}), where other machines raise no events", mend)
    else:
        yield Check(name, "ok", f"{folder} ({kind})")
    if shut:
        mend = "give this user the right to read them: chmod, or a group that the microscope's user and this one share"
        yield Check(name, "fail", f"{folder}: {count(len(shut), 'volume')} cannot be read, such as {shut[0]}", mend)
    ahead = newest - time.time()
    if ahead > 60:
        mend = (
            "set the clocks of the microscope and of this machine by the same NTP server; alscope itself does not mind"
        )
        yield Check(name, "warn", f"{folder}: its newest file is {duration(ahead)} in the future", mend)


def _newest_and_shut(watch: Watch) -> tuple[float, list[str]]:
    """(time of the newest entry, names of volumes and subfolders that this user cannot read). Raises OSError."""
    newest, shut = 0.0, []
    with os.scandir(watch.folder) as entries:
        for entry in itertools.islice(entries, MANY):
            is_folder = entry.is_dir(follow_symlinks=False)
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, entry.stat().st_mtime)
                rights = os.R_OK | os.X_OK if is_folder else os.R_OK
                if (is_folder or is_wanted(entry.name, watch.include, watch.exclude)) and not os.access(entry, rights):
                    shut.append(entry.name)
    return newest, shut


def file_events(settings: Settings) -> Check:
    """Does the system let this user watch so many folders, and so often?"""
    try:
        limit = int((INOTIFY / "max_user_watches").read_text())
        instances = int((INOTIFY / "max_user_instances").read_text())
    except (OSError, ValueError):
        return Check("file events", "ok", "no inotify on this system; files are found by the scan")
    n = 0
    for watch in settings.watch:
        n += sum(1 for _ in itertools.islice(os.walk(watch.folder), MANY))
    found = f"{count(n, 'folder')} to watch, {limit} inotify watches allowed"
    if n * 2 > limit:
        mend = f"sysctl fs.inotify.max_user_watches={max(8 * n, 524288)}; until then the scan finds files, later"
        return Check("file events", "warn", found, mend)
    used = _instances()
    if used + len(settings.watch) + 1 > instances:
        mend = f"sysctl fs.inotify.max_user_instances={max(4 * used, 1024)}; until then the scan finds files, later"
        return Check("file events", "warn", f"{used} of {instances} inotify instances of this user are in use", mend)
    return Check("file events", "ok", found)


def _instances() -> int:
    """inotify instances that processes of this user have open."""
    n = 0
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid != os.getuid():
                continue
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    n += os.readlink(descriptor) == "anon_inode:inotify"
    return n
