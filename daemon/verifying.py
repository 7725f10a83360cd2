"""Hashes what lies on the disk again: artifacts against their manifests, received labels against the database. Only reads."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alcore.artifact import MANIFEST, read_manifest
from alcore.errors import PermanentError
from daemon.workspace import Workspace

BLOCK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """What is wrong with one thing. kind: artifact or label; name: key of the artifact, or the file, relative to the workspace;
    what: in words; todo: what to do about it."""

    kind: str
    name: str
    what: str
    todo: str


@dataclass(frozen=True)
class Piece:
    """Something to hash. size: bytes; check: what is wrong with it, "" for nothing."""

    kind: str
    name: str
    size: int
    todo: str
    check: Callable[[], str]


LABEL_TODO = "it holds labels of people: restore the folder from a copy of the workspace, or save the labels again"
RESULT_TODO = "restore the folder from a copy of the workspace; until then, jobs that read it fail or go wrong"
FILE_TODO = "the label that counts is in its artifact; restore the file from a copy of the workspace if you need it"


def pieces(workspace: Workspace, db: sqlite3.Connection) -> list[Piece]:
    """Everything that can be verified: what the database says there ought to be, and what else lies in artifacts/."""
    labels, found = _label_artifacts(db), []
    there = {p.name: p for p in sorted(workspace.root.glob("artifacts/??/*")) if p.is_dir()}
    wanted = {key: workspace.artifacts.path(key) for key in sorted(labels) if key not in there}
    for key, folder in {**there, **wanted}.items():
        todo = LABEL_TODO if key in labels else RESULT_TODO
        found.append(Piece("artifact", key, _size(folder), todo, partial(_artifact, folder)))
    for file, sha256 in _received(db):
        path = workspace.root / file
        size = path.stat().st_size if path.is_file() else 0
        found.append(Piece("label", file, size, FILE_TODO, partial(_label, path, sha256)))
    return found


def verify(found: Sequence[Piece], progress: Callable[[int], None]) -> Iterator[Finding]:
    """Check piece by piece. progress: called with the bytes that were read since."""
    for piece in found:
        if what := piece.check():
            yield Finding(piece.kind, piece.name, what, piece.todo)
        progress(piece.size)


def sha256_of(path: Path) -> str:
    """Digest of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _artifact(folder: Path) -> str:
    try:
        manifest = read_manifest(folder)
    except PermanentError:
        return f"{MANIFEST} is missing or cannot be read"
    if manifest.key != folder.name:
        return f"{MANIFEST} is that of {manifest.key}"
    for name, kept in manifest.files.items():
        path = folder / name
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return f"{name} is no file"
            if path.stat().st_size != kept["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {kept['bytes']}"
            if sha256_of(path) != kept["sha256"]:
                return f"{name} has changed"
        except OSError as e:
            return f"{name}: {e.strerror}"
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    more = sorted(there - set(manifest.files) - {MANIFEST})
    return f"{more[0]} does not belong to it" if more else ""


def _label(path: Path, sha256: str) -> str:
    try:
        return "" if sha256_of(path) == sha256 else "has changed since it was received"
    except FileNotFoundError:
        return "is gone"
    except OSError as e:
        return e.strerror or str(e)


def _size(folder: Path) -> int:
    return sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())


def _label_artifacts(db: sqlite3.Connection) -> set[str]:
    """Artifacts that hold labels of people."""
    sql = "SELECT artifact FROM label UNION SELECT artifact FROM repeat_label"
    return {str(r[0]).partition("/")[0] for r in db.execute(sql)}


def _received(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(file, sha256) of every accepted label file that lies with us; that of an imported one is a part of its artifact."""
    sql = (
        "SELECT file, sha256 FROM received WHERE state = 'accepted' AND length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'"
        " AND file NOT LIKE 'artifacts/%' ORDER BY id"
    )
    return [(str(r[0]), str(r[1])) for r in db.execute(sql)]
