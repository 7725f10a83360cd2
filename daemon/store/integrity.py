"""Is a database sound? What a damaged one says, and how it gets out of the way. Nothing here deletes one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from alcore.artifact import fsync_dir
from daemon.store.connection import import_sqlite_utils
from daemon.store.schema import migrations

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a database: it belongs to that one, and would spoil another."""


def unsound(path: Path) -> str:
    """What is wrong with a closed database of alscope, such as a backup, in a few words; "" for a sound one."""
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connection):
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                return verdict
            return "" if applied(connection) else "it is no database of alscope"
    except OSError as e:
        return e.strerror or str(e)
    except sqlite3.Error as e:
        return str(e)


def applied(connection: sqlite3.Connection) -> list[str]:
    """Names of the migrations that a database has; none for one that is not of alscope, or was only just made."""
    return [m.name for m in migrations().applied(import_sqlite_utils().Database(connection))]


def stamp(now: float) -> str:
    """A moment in the name of a file, in UTC so that names sort by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def move_aside(path: Path, word: str, now: float) -> Path | None:
    """Give a database, and what SQLite keeps beside it, another name; returns it, or None where there is no database.

    What lies beside it goes first: without its database it would be taken for a part of the next one.
    """
    target = path.with_name(f"{path.name}.{word}-{stamp(now)}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{word}-{stamp(now)}-{number}")
    for suffix in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return None
    fsync_dir(path.parent)
    return target
