"""One look at a workspace for people: a Snapshot with names in it, also before there is a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import WorkspaceError
from daemon.store.age import newer_words, pending, unknown
from daemon.store.connection import DATABASE, damaged_words, is_damage, open_reader
from daemon.store.problems import disk_problem
from daemon.store.report import snapshot
from daemon.store.subjects import with_names
from daemon.store.views import DaemonView, Problem, Snapshot
from daemon.workspace import Workspace, read_holder


@contextmanager
def reading(workspace: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection for a few quick questions. Raises WorkspaceError, also for what goes wrong inside."""
    path = workspace / DATABASE
    connection = open_reader(path)
    try:
        yield connection
    except (sqlite3.Error, IndexError) as e:  # an IndexError: a row lacks a column that this version reads
        problem = outdated(connection, workspace)
        if problem is None and isinstance(e, sqlite3.Error):
            problem = unreadable(path, e)
        if problem is None:
            raise
        raise problem from e
    finally:
        connection.close()


def outdated(connection: sqlite3.Connection, workspace: Path) -> WorkspaceError | None:
    """The error for a database that an older alscope made and that is not, or only now, brought up to date, or that a newer one
    made; None for another."""
    try:
        old, newer = pending(connection), unknown(connection)
    except sqlite3.Error:
        return None
    path = workspace / DATABASE
    if newer:
        return WorkspaceError(newer_words(path, newer))
    if not old:
        return None
    if read_holder(Workspace(workspace).lock_file) is not None:
        return WorkspaceError(f"{path}: the database is just being brought up to date; nothing is lost, wait a moment")
    return WorkspaceError(f"{path}: an older alscope made this database; the next `alscope run` brings it up to date")


def unreadable(path: Path, error: sqlite3.Error) -> WorkspaceError:
    """The error for a database that is there and cannot be read: it is damaged, or just being made, migrated or replaced."""
    if is_damage(error):
        return WorkspaceError(damaged_words(path, str(error)))
    return WorkspaceError(f"{path}: the database cannot be read now ({error}); try again in a moment")


def look(workspace: Path, now: float) -> Snapshot:
    """What people see. Without a database it is empty and says so. Raises WorkspaceError when the database is unreadable."""
    if not (workspace / DATABASE).is_file():
        return before_the_first_run(now, disk_problem(workspace, now))
    with reading(workspace) as db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'daemon'").fetchone() is None:  # it is being made
            return before_the_first_run(now, disk_problem(workspace, now))
        return with_names(db, snapshot(workspace, now))


def before_the_first_run(now: float, more: Sequence[Problem] = ()) -> Snapshot:
    """The state of a workspace in which no daemon has run, and what else is wrong."""
    problem = Problem("daemon", "alscope", "no daemon has run here yet; start it with `alscope run`", now)
    volumes = ("arriving", "set_aside", "ingested", "pseudo_labelled", "embedded", "indexed", "predicted", "gone")
    return Snapshot(
        at=now,
        daemon=DaemonView("never", None, None, None, None, None),
        volumes=dict.fromkeys(volumes, 0),
        patches={"total": 0, "labelled": 0, "held_back": 0},
        labels={"accepted": 0, "train": 0, "gate": 0, "new": 0, "rejected": 0, "asked": 0},
        queue=(),
        jobs={},
        running=(),
        models=(),
        rounds=(),
        encoders=(),
        control=None,
        pseudo=None,
        quality=None,
        advice=None,
        problems=(problem, *more),
        events=(),
    )
