"""Which names of acquisitions and people a workspace knows, and the alias of each: the same one in every bundle."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

MOST_FILES = 20_000
COMMON = {
    "alscope",
    "data",
    "home",
    "media",
    "mnt",
    "root",
    "scratch",
    "srv",
    "storage",
    "tmp",
    "users",
    "var",
    "workspace",
}
"""Folders that say nothing of whose they are."""
SOURCES = "SELECT id, path, name, members FROM source ORDER BY id"
VOLUMES = (
    "SELECT v.id, v.name, v.export_name, (SELECT MIN(source_id) FROM source_part l WHERE l.volume_id = v.id) AS source,"
    " (SELECT COUNT(*) FROM source_part m WHERE m.source_id = (SELECT MIN(source_id) FROM source_part l"
    " WHERE l.volume_id = v.id)) AS n FROM volume v ORDER BY v.id"
)
PEOPLE = (
    "SELECT author FROM received ORDER BY id",
    "SELECT author FROM label ORDER BY id",
    "SELECT author FROM repeat_label ORDER BY received_id",
    "SELECT author FROM truth ORDER BY id",
    "SELECT author FROM found_label ORDER BY at",
    "SELECT user FROM claim ORDER BY id",
    "SELECT ended_by FROM claim ORDER BY id",
)
FOLDERS = "SELECT folder FROM watched UNION SELECT CAST(subject AS BLOB) FROM problem WHERE kind = 'folder'"
TRUTHS = "SELECT id, path FROM truth ORDER BY id"


class PrivateNames:
    """aliases: name -> alias. complete: the database could be read, so that no name is missing that it or a log may hold."""

    def __init__(self, databases: Iterable[Path], watched: Sequence[Path], places: Mapping[str, Path]) -> None:
        """databases: the present one, then its backups. places: alias -> a folder of ours whose path may name somebody."""
        self.aliases: dict[str, str] = {}
        self.complete = False
        self._watched = [os.fsencode(os.path.abspath(folder)) for folder in watched]
        self._former: list[Path] = []
        self._used = 0
        self._people: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        for number, path in enumerate(databases):
            if self._of_database(path):
                self.complete = number == 0
                break
        self._of_files(watched)
        self._of_accounts([*watched, *places.values()])
        self._of_places(list(dict.fromkeys([*watched, *self._former])), places)

    def _of_database(self, path: Path) -> bool:
        try:
            uri = f"file:{quote(str(path))}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as db:
                for number, raw, name, members in db.execute(SOURCES):
                    self._acquisition(f"volume_{number:04d}", bytes(raw), [name, *json.loads(members or "[]")])
                    self._used = max(self._used, number)
                for number, name, exported, source, n in db.execute(VOLUMES):
                    alias = f"volume_{source or number:04d}" + (f"_part_{number}" if n > 1 else "")
                    self._file(name, f"volume_{source or number:04d}")
                    self._put(exported, alias)
                self._former = [Path(os.fsdecode(raw)) for (raw,) in db.execute(FOLDERS)]
                for number, path in db.execute(TRUTHS):
                    self._file(os.fsdecode(os.path.basename(path)), f"truth_{number}")
                for sql in PEOPLE:
                    for (person,) in db.execute(sql):
                        self._person(person)
        except (sqlite3.Error, ValueError, TypeError):
            return False
        return True

    def _acquisition(self, alias: str, path: bytes, names: Sequence[str]) -> None:
        """A file or a set of files, and the folders between it and the watched one."""
        inside = next((path[len(w) :] for w in self._watched if path.startswith(w + b"/")), path)
        for folder in os.fsdecode(os.path.dirname(inside)).split("/"):
            self._folder(folder)
        self._file(os.fsdecode(os.path.basename(path)), alias)
        for number, name in enumerate(names):
            self._file(os.path.basename(name), f"{alias}_file_{number}" if number else alias)

    def _file(self, name: str, alias: str) -> None:
        """A file name, and what is left of it without one suffix after the other."""
        rest, suffix = os.path.splitext(name)
        self._put(name, alias + suffix)
        while suffix:
            self._put(rest, alias)
            rest, suffix = os.path.splitext(rest)

    def _folder(self, name: str) -> None:
        if name and name.lower() not in COMMON:
            self._put(name, self._folders.setdefault(name, f"folder_{len(self._folders) + 1}"))

    def _person(self, name: str) -> None:
        if name:
            self._put(name, self._people.setdefault(name, f"user_{len(self._people) + 1}"))

    def _put(self, name: str, alias: str) -> None:
        if name:
            self.aliases.setdefault(name, alias)

    def _of_files(self, watched: Sequence[Path]) -> None:
        """What lies there and is not in the database."""
        for path in _files(watched):
            if os.fsdecode(os.path.basename(path)) not in self.aliases:
                self._used += 1
                self._acquisition(f"volume_{self._used:04d}", path, ())

    def _of_accounts(self, folders: Sequence[Path]) -> None:
        """Who runs this, and to whom the folders belong."""
        with contextlib.suppress(OSError, KeyError):
            self._person(getpass.getuser())
        for number in sorted({os.getuid(), *(f.stat().st_uid for f in folders if f.exists())}):
            with contextlib.suppress(KeyError):
                account = pwd.getpwuid(number)
                self._person(account.pw_name)
                self._person(account.pw_gecos.split(",")[0] if number else "")

    def _of_places(self, watched: Sequence[Path], places: Mapping[str, Path]) -> None:
        """Whole paths by what they are for; in the path of a watched folder every folder may name an experiment."""
        numbered = {f"watched_{n}": folder for n, folder in enumerate(watched, 1)}
        for alias, folder in {**places, **numbered}.items():
            for form in (os.path.abspath(folder), os.path.realpath(folder), str(folder)):
                if form.count("/") > 1:
                    self.aliases.setdefault(form, alias)
        for folder in watched:
            for name in Path(os.path.abspath(folder)).parts[1:]:
                self._folder(name)


def _files(watched: Sequence[Path]) -> Iterator[bytes]:
    """Files and folders in the watched folders, at most so many."""
    n = 0
    for folder in watched:
        for top, folders, files in os.walk(os.fsencode(os.path.abspath(folder))):
            folders.sort()
            for name in sorted([*files, *folders]):
                n += 1
                if n > MOST_FILES:
                    return
                yield os.path.join(top, name)
