"""What goes into the bundle of `alscope doctor --bundle`, read as far as it can be although something is broken."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alcore.plainfile import open_plain
from daemon.cli.bundle import Part
from daemon.cli.private_names import PrivateNames
from daemon.cli.session import Session
from daemon.config_file import DEFAULT_WORKSPACE, read_toml, workspace_of
from daemon.errors import AlscopeError, ConfigError, WorkspaceError
from daemon.redaction import MASKED, Redaction, secrets_of, without_secrets
from daemon.store.connection import DATABASE
from daemon.workspace import Workspace

TAIL_BYTES = 64 << 10
CONFIG_BYTES = 256 << 10
MOST_LOGS = 50
MOST_JOBS = 2000
MOST_EVENTS = 1000
MOST_FILES = 500_000


class Support:
    """What is in a bundle, and how it is read although something is broken."""

    def __init__(self, session: Session, private: bool, checks: Callable[[], list[dict[str, str]]]) -> None:
        self._session, self._private, self._checks = session, private, checks
        self._text = ""
        with contextlib.suppress(AlscopeError, OSError), open(session.config, "rb") as f:
            self._text = f.read(CONFIG_BYTES).decode(errors="replace")
        self._raw: dict[str, Any] = {}
        with contextlib.suppress(AlscopeError):
            self._raw = read_toml(session.config)
        self.names = self._names() if private else None

    def redaction(self) -> Redaction:
        """What is masked in every part."""
        return Redaction(secrets_of(self._raw, os.environ), self.names.aliases if self.names else None)

    @cached_property
    def workspace(self) -> Path:
        """The workspace, also where config.toml is no TOML: the line that names it, or the folder beside it. Raises ConfigError."""
        try:
            return workspace_of(self._session.config)
        except ConfigError:
            named = re.search(r"""(?m)^\s*workspace\s*=\s*["']([^"']+)""", self._text)
            base = self._session.config.absolute().parent  # none at all: nothing more can be found
            return base / Path(named[1] if named else DEFAULT_WORKSPACE).expanduser()

    def _watched(self) -> list[Path]:
        with contextlib.suppress(ConfigError):
            base = self._session.config.absolute().parent
            listed = self._raw.get("watch")
            named = [w.get("folder") for w in listed if isinstance(w, dict)] if isinstance(listed, list) else []
            named = named or re.findall(r"""(?m)^\s*folder\s*=\s*["']([^"'\n]+)""", self._text)
            return [base / Path(folder).expanduser() for folder in named if isinstance(folder, str)]
        return []

    def _names(self) -> PrivateNames:
        from daemon.store.backups import listing

        databases: list[Path] = []
        places = {"home_folder": Path.home()}
        with contextlib.suppress(ConfigError, OSError):
            places = {
                "workspace_folder": self.workspace,
                "config_folder": self._session.config.absolute().parent,
                **places,
            }
            if (self.workspace / DATABASE).exists():
                databases = [self.workspace / DATABASE, *(backup.path for backup in listing(self.workspace))]
        return PrivateNames(databases, self._watched(), places)

    def parts(self) -> Iterator[tuple[str, Part]]:
        """(name in the zip, what makes it), the surest first."""
        yield "about.json", self._about
        yield "packages.json", _packages
        yield ("config.json", self._private_config) if self._private else ("config.toml", self._config)
        yield "doctor.json", self._checks
        yield "database.json", lambda: _database(self.workspace / DATABASE)
        yield "folders.json", lambda: _folders(self.workspace)
        of_database: dict[str, Part] = {
            "status.json": lambda: self._snapshot,
            "problems.json": lambda: self._snapshot["problems"],
            "models.json": lambda: self._snapshot["models"],
            "volumes.json": self._volumes,
            "jobs.json": lambda: self._jobs(None, MOST_JOBS),
            "events.json": self._events,
        }
        if self._nameless:
            yield from ((name, _refused) for name in (*of_database, "logs"))
            return
        yield from of_database.items()
        yield from self._logs()

    @property
    def _nameless(self) -> bool:
        """Are names to be replaced that nobody can know, because the database is damaged or lost?"""
        return self.names is not None and not self.names.complete

    def _about(self) -> dict[str, Any]:
        from alcore import __version__
        from daemon.store.connection import file_system_of

        said: dict[str, Any] = {
            "alscope": __version__,
            "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "private": self._private,
            "python": sys.version,
            "platform": platform.platform(),
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "sqlite": sqlite3.sqlite_version,
        }
        with contextlib.suppress(ConfigError, OSError):
            said |= {"workspace": str(self.workspace), "file_system": file_system_of(self.workspace)}
        return said

    def _config(self) -> str:
        return without_secrets(self._config_text())

    def _config_text(self) -> str:
        path = self._session.config
        if not self._text:
            raise ConfigError(f"{path}: is empty, or cannot be read")
        return self._text

    def _private_config(self) -> dict[str, Any]:
        """As it was understood: remarks and patterns of file names may hold anything."""
        from daemon.config import ACQUISITIONS

        raw = json.loads(json.dumps(read_toml(self._session.config), default=str))
        for watch in raw["watch"] if isinstance(raw.get("watch"), list) else ():
            for key in ("include", "exclude", "slices", "marker"):
                said = watch.get(key) if isinstance(watch, dict) else None
                if said:
                    patterns = said if isinstance(said, list) else [said]
                    watch[key] = [p if p in ACQUISITIONS else MASKED for p in patterns]
        if isinstance(raw.get("alarms"), dict) and raw["alarms"].get("command"):
            raw["alarms"]["command"] = MASKED
        made: dict[str, Any] = raw
        return made

    @cached_property
    def _snapshot(self) -> dict[str, Any]:
        from daemon.look import look

        return look(self.workspace, time.time()).to_json()

    def _volumes(self) -> list[dict[str, Any]]:
        from daemon.look import reading
        from daemon.store.listing import sources

        with reading(self.workspace) as db:
            return [asdict(source) for source in sources(db, time.time())]

    def _jobs(self, state: str | None, limit: int) -> list[dict[str, Any]]:
        from daemon.look import reading
        from daemon.store.listing import jobs

        with reading(self.workspace) as db:
            return [asdict(job) for job in jobs(db, state, limit)]

    def _events(self) -> list[dict[str, Any]]:
        from daemon.look import reading

        with reading(self.workspace) as db:
            rows = db.execute(f"SELECT at, kind, message FROM event ORDER BY id DESC LIMIT {MOST_EVENTS}")
            return [dict(row) for row in rows]

    def _logs(self) -> Iterator[tuple[str, Part]]:
        """The end of the log of the newest jobs that failed or run; where that is not known, of the newest jobs."""
        try:
            places = Workspace(self.workspace).places
        except ConfigError:
            return
        try:
            found = [job["id"] for state in ("failed", "running") for job in self._jobs(state, MOST_LOGS)]
        except Exception:  # said where the jobs are listed
            found = _numbers(places.jobs)
        for number in sorted(found, reverse=True)[:MOST_LOGS]:
            if (path := places.job(number) / "log.txt").exists():  # a job that has only begun has said nothing
                yield f"logs/{number}.txt", partial(_tail, path)


def _refused() -> Any:
    raise WorkspaceError("no readable database says which names of files and people may be in it")


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]
    except OSError:
        return []


def _tail(path: Path) -> str:
    with open_plain(path) as f:
        f.seek(max(0, os.fstat(f.fileno()).st_size - TAIL_BYTES))
        return f.read(TAIL_BYTES).decode(errors="replace")


def _packages() -> dict[str, str]:
    return {found.name: found.version for found in sorted(importlib.metadata.distributions(), key=lambda d: d.name)}


def _database(path: Path) -> dict[str, Any]:
    """Sizes, soundness, schema and numbers of rows of the database; each that cannot be had says why."""
    said: dict[str, Any] = {"files": {p.name: p.stat().st_size for p in sorted(path.parent.glob(f"{path.name}*"))}}
    if not path.is_file():
        raise WorkspaceError(f"{path}: no database here")

    def ask(db: sqlite3.Connection, sql: str) -> list[Any] | str:
        try:
            return [row[0] if len(row) == 1 else list(row) for row in db.execute(sql)]
        except sqlite3.Error as e:
            return str(e)

    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as db:
        said["quick_check"] = ask(db, "PRAGMA quick_check(20)")
        said["schema"] = ask(db, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        tables: Sequence[Any] = ask(db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        if not isinstance(tables, str):
            counted = {name: ask(db, f'SELECT COUNT(*) FROM "{name}"') for name in tables}
            said["rows"] = {name: n if isinstance(n, str) else n[0] for name, n in counted.items()}
            said["migrations"] = ask(db, "SELECT name FROM _sqlite_migrations ORDER BY id")
    return said


def _folders(workspace: Path) -> dict[str, dict[str, int]]:
    """Files and bytes in each folder of the workspace, of at most so many files altogether."""
    from daemon.disk import free_gb

    there = next(p for p in (workspace, *workspace.parents) if p.exists())
    said = {"free": {"bytes": int(free_gb(there) * 1e9)}}
    left = MOST_FILES
    for folder in sorted(p for p in workspace.iterdir() if p.is_dir() and not p.is_symlink()):
        files = size = 0
        for top, _, names in os.walk(folder):
            for name in names[: max(left, 0)]:
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(top, name)).st_size
                    files += 1
            left -= len(names)
            if left <= 0:
                break
        said[folder.name] = {"files": files, "bytes": size}
    if left <= 0:
        said["counted"] = {"files": MOST_FILES}
    return said
