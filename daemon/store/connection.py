"""Opening the database: one writer (the daemon), any number of read-only readers."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alcore.disk import full_words, is_full, no_space
from daemon.errors import DamagedError, NoRoomError, WorkspaceError

if TYPE_CHECKING:
    from sqlite_utils import Database

DATABASE = "alscope.db"
FULL_NAME = "v.name || iif(v.part = '', '', ' (' || v.part || ')')"
"""SQL for the name of a row `v` of volume for people; `volumes.full_name` says the same."""
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "lustre", "beegfs"}
LOCAL_FILE_SYSTEMS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "vfat", "exfat", "ntfs3"}
"""Known to raise an event for whatever is written there: nobody but this machine can. Of others, as FUSE or what a virtual machine
shares with its host, that is not known."""


def import_sqlite_utils() -> Any:
    """Import sqlite-utils without pandas and numpy, which it would pull in when installed (+60 MB, +1.5 s) and we never use."""
    if "sqlite_utils" in sys.modules:
        return sys.modules["sqlite_utils"]
    hidden = [name for name in ("pandas", "numpy") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise ImportError
    try:
        import sqlite_utils
    finally:
        for name in hidden:
            del sys.modules[name]
    return sqlite_utils


def file_system_of(path: Path) -> str:
    """Type of the file system that holds `path` ("ext4", "nfs4", ...); "unknown" where there is no mount table."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return "unknown"
    real = str(path.resolve())
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        _, point, fstype, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fstype
    return kind


def out_of_room(path: Path, error: Exception) -> bool:
    """Did the database at `path` fail because its disk is full? SQLite says "disk I/O error" where it cannot even begin."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or is_full(path.parent)
    return no_space(error)


def is_damage(error: BaseException) -> bool:
    """Does SQLite say that the file is damaged, or no database?"""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damaged_words(path: Path, verdict: str) -> str:
    """What to say of a damaged database. verdict: the first line of what SQLite says."""
    said = " ".join(verdict.split("\n")[-1].split())
    return f"{path}: the database is damaged ({said}); `alscope restore --list` shows what can be put back"


def open_writer(path: Path) -> Database:
    """The one writing connection. WAL, full durability, foreign keys on.

    Raises WorkspaceError with what to do, DamagedError for a damaged one, NoRoomError when the disk is full.
    """
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise WorkspaceError(
            f"{path.parent}: the workspace is on a network file system ({kind}), where SQLite can lose data; "
            "set `workspace` in config.toml to a folder on a local disk"
        )
    sqlite_utils = import_sqlite_utils()
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as e:
        if connection is not None:
            connection.close()
        if out_of_room(path, e):
            raise NoRoomError(full_words(path.parent)) from e
        if is_damage(e):
            raise DamagedError(damaged_words(path, str(e))) from e
        raise WorkspaceError(f"{path}: the database cannot be opened ({e}); may this user write there?") from e
    if verdict != "ok":
        connection.close()
        raise DamagedError(damaged_words(path, verdict))
    return sqlite_utils.Database(connection, strict=True)


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection that never blocks the daemon: short autocommit SELECTs only. Raises WorkspaceError,
    DamagedError for a damaged one."""
    if not path.is_file():
        raise WorkspaceError(f"{path}: no database here yet; start the daemon with `alscope run`")
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        connection.row_factory = sqlite3.Row
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error as e:
        if out_of_room(path, e):
            raise NoRoomError(full_words(path.parent)) from e
        if is_damage(e):
            raise DamagedError(damaged_words(path, str(e))) from e
        raise WorkspaceError(f"{path}: the database cannot be read ({e})") from e
    return connection


def insert(db: Database, table: str, row: Mapping[str, Any]) -> int:
    """Insert one row; returns its id."""
    made = db.table(table).insert(dict(row)).last_pk
    assert isinstance(made, int)
    return made


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """One durable change of state: takes the write lock at once, so that read-then-write cannot fail half way.

    Inside another transaction it is a savepoint of that one.
    """
    connection = db.conn
    if connection.in_transaction:
        with db.atomic():
            yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
