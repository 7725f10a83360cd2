"""What holds after any fault, before anybody mends anything."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path


def check(workspace: Path) -> None:
    """The database is sound, and everything that it says is done lies there whole."""
    db = sqlite3.connect(f"file:{workspace}/alscope.db?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
        done = [r[0] for r in db.execute("SELECT key FROM job WHERE state = 'done'")]
        labels = [r[0] for r in db.execute("SELECT artifact FROM label")]
        received = [(r[0], r[1]) for r in db.execute("SELECT file, state FROM received WHERE filed = 1")]
        answered = {r[0] for r in db.execute("SELECT id FROM suggestion WHERE state IN ('accepted', 'skipped')")}
    finally:
        db.close()
    for key in [*done, *labels]:
        whole(workspace / "artifacts" / key.rsplit("-", 1)[-1][:2] / key)
    for file, state in received:
        assert state == "rejected" or (workspace / file).is_file()
    for folder in (workspace / "queue").iterdir():
        if not folder.name.startswith(".") and folder.name not in answered:  # those are being cleared away
            assert json.loads((folder / "suggestion.json").read_text())["id"] == folder.name
            assert (folder / "image.tif").stat().st_size > 0


def whole(artifact: Path) -> None:
    """Every file that the manifest names is there with the bytes it had."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((artifact / name).read_bytes()).hexdigest() == entry["sha256"], name


def digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file in a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}
