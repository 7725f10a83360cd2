"""The databases of tests/daemon/store/versions put back into a folder, with the files that their rows speak of.

Each was written by the last commit before the next migration came: 0001 fba0873, 0002 a9953b4, 0003 b9a2a59, 0004 6d156f6, 0005 9033437,
0006 7da6ce1, 0010 299069e, 0011 38a3734, 0016 7f8cb9a, 0017 5576c2d, 0018 8196d39, 0020 4c32d2e. The life of `make_version` was played
under the code of that commit; steps for which it had no command or no table yet were left out.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from alcore.artifact import MANIFEST, ArtifactStore
from daemon.store.connection import DATABASE, import_sqlite_utils
from daemon.store.schema import migrations
from tests.daemon.store.make_version import FOLDER, PLACE, content

FILES = {
    "package": ("image.tif", "pseudo_label.tif", "preview.png", "suggestion.json"),
    "label": ("label.tif",),
    "truth": ("label.tif",),
    "predict": ("instances.tif",),
}
"""What people are given of results, by stage."""
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]
"""table -> primary key -> row by column."""


def known() -> list[str]:
    """Numbers of the versions that there is a database of, oldest first."""
    return sorted(path.name[:4] for path in FOLDER.glob("*.sql.gz"))


def numbers() -> list[str]:
    """Numbers of all migrations."""
    empty = import_sqlite_utils().Database(memory=True)
    with contextlib.closing(empty):
        return [migration.name[:4] for migration in migrations().pending(empty)]


def said(version: str) -> dict[str, Any]:
    """What was counted in it when it was made."""
    found: dict[str, Any] = json.loads((FOLDER / f"{version}.json").read_text())
    return found


def restored(version: str, root: Path) -> Path:
    """Put the database of a version into root/ws; returns that folder."""
    text = gzip.decompress((FOLDER / f"{version}.sql.gz").read_bytes()).decode()
    for there, here in ((PLACE, str(root)), (PLACE.encode().hex().upper(), os.fsencode(root).hex().upper())):
        text = text.replace(there, here)
    workspace = root / "ws"
    workspace.mkdir()
    with contextlib.closing(sqlite3.connect(workspace / DATABASE)) as db:
        db.executescript(text)
    return workspace


def rows(database: Path) -> Rows:
    """All of a database."""
    found: Rows = {}
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            keys = [r["name"] for r in db.execute(f"PRAGMA table_info({table})") if r["pk"]]
            found[table] = {tuple(r[k] for k in keys): dict(r) for r in db.execute(f"SELECT * FROM {table}")}
    return found


def schema(database: Path) -> list[tuple[str, str, str]]:
    """Everything that SQLite was told to hold, in any order of making, and however it was spaced."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        sql = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        return sorted((kind, name, " ".join(text.split())) for kind, name, text in db.execute(sql))


def with_files(root: Path, held: Rows) -> None:
    """Write the acquisitions and the results that the rows speak of, so that an engine can go on."""
    folder, artifacts = root / "in", ArtifactStore(root / "ws" / "artifacts")
    folder.mkdir()
    for source in held["source"].values():
        if not source["gone"]:
            (folder / source["name"]).write_bytes(content(source["name"]))
    results = {job["key"]: json.loads(job["result"]) for job in held["job"].values() if job["result"]}
    for (key,), row in held["artifact"].items():
        target = artifacts.path(key)
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES.get(row["stage"], ()):
            (target / name).write_text(key)
        manifest = {"key": key, "stage": row["stage"], "version": 1, "params": {}, "inputs": {}, "files": {}}
        (target / MANIFEST).write_text(json.dumps(manifest | {"result": results.get(key, {}), "seconds": 0.1}))
    for received in held["received"].values():
        for path in (root / "ws" / received["file"], Path(os.fsdecode(received["inbox_path"]))):
            if path.parent.name != "inbox" or not received["filed"]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"label")
                break
