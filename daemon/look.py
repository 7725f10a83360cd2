"""One look at a workspace for people: a Snapshot with names in it, also before there is a database."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from daemon.errors import WorkspaceError
from daemon.store.age import newer_words, pending, unknown
from daemon.store.connection import DATABASE, damaged_words, is_damage, open_reader
from daemon.store.problems import disk_problem
from daemon.store.report import as_of, facts
from daemon.store.subjects import with_names
from daemon.store.views import DaemonView, Problem, Snapshot
from daemon.workspace import Workspace, read_holder


@contextmanager
def reading(workspace: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection for a few quick questions. Raises WorkspaceError, also for what goes wrong inside."""
    connection = open_reader(workspace / DATABASE)
    try:
        with _explained(connection, workspace):
            yield connection
    finally:
        connection.close()


@contextmanager
def _explained(connection: sqlite3.Connection, workspace: Path) -> Iterator[None]:
    """Raises WorkspaceError for what SQLite, or a row of an older alscope, has against a question."""
    try:
        yield
    except (sqlite3.Error, IndexError) as e:  # an IndexError: a row lacks a column that this version reads
        problem = outdated(connection, workspace)
        if problem is None and isinstance(e, sqlite3.Error):
            problem = unreadable(workspace / DATABASE, e)
        if problem is None:
            raise
        raise problem from e


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


class Looker:
    """Looks at one workspace again and again, from one thread; what nobody has changed since the last look is not read again.

    with closing(Looker(workspace)) as looker:
        looker.look(time.time())

    SQLite tells whether another connection committed since (`PRAGMA data_version`, in the transaction that then reads), the file
    system whether the file is another one, or was written to by whoever: then it is opened anew. Between looks the connection is open
    and in no transaction, which hinders neither the daemon nor its checkpoints.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, ...] | None = None
        self._facts: tuple[int, Snapshot] | None = None

    def look(self, now: float) -> Snapshot:
        """What people see now (s since the epoch). Without a database it is empty and says so. Raises WorkspaceError when the
        database is unreadable."""
        file = _identity(self._workspace / DATABASE)
        if file is None or file != self._file:
            self.close()
        if file is None:
            return before_the_first_run(now, disk_problem(self._workspace, now))
        if self._connection is None:
            self._connection, self._file = open_reader(self._workspace / DATABASE), file
        try:
            with _explained(self._connection, self._workspace):
                return self._read(self._connection, now)
        except BaseException:
            self.close()
            raise

    def _read(self, db: sqlite3.Connection, now: float) -> Snapshot:
        db.execute("BEGIN")
        version = int(db.execute("PRAGMA data_version").fetchone()[0])
        if self._facts is None or self._facts[0] != version:
            self._facts = None
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'daemon'").fetchone() is None:  # it is being made
                db.execute("COMMIT")
                return before_the_first_run(now, disk_problem(self._workspace, now))
            self._facts = version, with_names(db, facts(db))
        seen = as_of(db, self._facts[1], self._workspace, now)
        db.execute("COMMIT")
        return seen

    def close(self) -> None:
        """Let go of the database; the next look reads everything."""
        connection, self._connection, self._file, self._facts = self._connection, None, None, None
        if connection is not None:
            connection.close()


def _identity(path: Path) -> tuple[int, ...] | None:
    """Which file is there, and when it was last written to; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def look(workspace: Path, now: float) -> Snapshot:
    """One look, see `Looker.look`."""
    with closing(Looker(workspace)) as looker:
        return looker.look(now)


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
