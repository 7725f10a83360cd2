"""What holds after any fault, before anybody mends anything."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from alcore.run import stage
from daemon.endings import FIND_ATTEMPTS

CLEARED = ("predict", "latent_map", "gate_pictures", "report")
"""Stages whose artifacts are removed when newer ones are there: files first, then the record, which is put right at the next start."""


def artifact_of(workspace: Path, key: str) -> Path:
    """Where the artifact is, or would be."""
    return workspace / "artifacts" / key.rsplit("-", 1)[-1][:2] / key


def check(workspace: Path) -> None:
    """The database is sound, and everything that it says is done lies there whole."""
    db = sqlite3.connect(f"file:{workspace}/alscope.db?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
        over = [r[:3] for r in db.execute("SELECT stage, state, attempts FROM job") if r[2] > most_attempts(r[0])]
        assert not over, f"more attempts than there may be: {over}"
        twice = db.execute(
            "SELECT key FROM job WHERE state IN ('ready', 'running') GROUP BY key HAVING COUNT(*) > 1"
        ).fetchall()
        assert not twice, f"two jobs of one recipe: {twice}"
        done = [
            r[0]
            for r in db.execute("SELECT key, stage FROM job WHERE state = 'done'")
            if r[1] not in CLEARED or artifact_of(workspace, r[0]).exists()
        ]
        labels = [r[0] for r in db.execute("SELECT artifact FROM label")]
        received = [(r[0], r[1]) for r in db.execute("SELECT file, state FROM received WHERE filed = 1")]
        of_suggestion = db.execute(
            "SELECT r.suggestion_id, l.artifact FROM label l JOIN received r ON r.id = l.received_id"
        ).fetchall()
        answered = {r[0] for r in db.execute("SELECT id FROM suggestion WHERE state IN ('accepted', 'skipped')")}
    finally:
        db.close()
    for key in [*done, *labels]:
        whole(artifact_of(workspace, key))
    for file, state in received:
        assert state == "rejected" or (workspace / file).is_file()
    for folder in (workspace / "queue").iterdir():
        if not folder.name.startswith(".") and folder.name not in answered:  # those are being cleared away
            assert json.loads((folder / "suggestion.json").read_text())["id"] == folder.name
            assert (folder / "image.tif").stat().st_size > 0

    accepted: dict[str, list[Path]] = {}
    for suggestion, key in of_suggestion:
        accepted.setdefault(suggestion, []).append(artifact_of(workspace, key) / "label.tif")
    for path in (workspace / "labels").glob("[!.]*.tif"):
        content = path.read_bytes()
        assert any(p.read_bytes() == content for p in accepted[path.stem]), f"{path}: no label that was accepted"


def most_attempts(name: str) -> int:
    """Of jobs of one stage."""
    return max(stage(name).max_attempts, FIND_ATTEMPTS if name == "volume" else 0)


def whole(artifact: Path) -> None:
    """Every file that the manifest names is there with the bytes it had."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((artifact / name).read_bytes()).hexdigest() == entry["sha256"], name


def digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file in a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}
