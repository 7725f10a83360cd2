"""Checks of `alscope doctor`: is the database sound, of this version, and not from the future?"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from urllib.parse import quote

from daemon.cli.checking import Check
from daemon.config import Settings
from daemon.store.age import pending, unknown
from daemon.store.connection import DATABASE
from daemon.wording import duration
from daemon.workspace import read_holder

NAME = "database"
AHEAD_S = 60.0


def database(settings: Settings) -> Iterator[Check]:
    """Every page of it, its age, and who holds it."""
    path = settings.workspace / DATABASE
    holder = read_holder(settings.workspace / "alscope.lock")
    who = f"the daemon runs (pid {holder['pid']:.0f})" if holder else "the daemon is not running"
    if not path.is_file():
        yield Check(NAME, "ok", f"made at the first start; {who}")
        return
    old: list[str] = []
    newer: list[str] = []
    seen = 0.0
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connection):
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict == "ok":
                old, newer = pending(connection), unknown(connection)
                seen = _last_seen(connection)
    except sqlite3.Error as e:
        verdict = str(e)
    if verdict != "ok":
        yield Check(
            NAME, "fail", f"{path}: {verdict}", "stop the daemon; `alscope restore` puts the newest backup back"
        )
    elif newer:
        mend = "install the alscope that made it again, or set `workspace` to another folder"
        yield Check(NAME, "fail", f"{path}: a newer alscope made this database (it has {newer[-1]})", mend)
    elif old:
        mend = "`alscope run` brings it up to date; nothing in it is lost"
        yield Check(NAME, "warn", f"sound, but made by an older alscope; {who}", mend)
    else:
        yield Check(NAME, "ok", f"sound; {who}")
    ahead = seen - time.time()
    if ahead > AHEAD_S:
        found = f"the daemon was last seen {duration(ahead)} in the future: the clock was set back"
        yield Check("clock", "warn", found, "set the clock, best by NTP (timedatectl set-ntp true)")


def _last_seen(connection: sqlite3.Connection) -> float:
    """When a daemon last said that it lives; 0 if none has."""
    try:
        row = connection.execute("SELECT seen_at FROM daemon").fetchone()
    except sqlite3.Error:  # the database is being made
        return 0.0
    return float(row[0] or 0.0) if row else 0.0
