"""Immutable, content-addressed directories: written aside, fsynced, manifest last, renamed, made read-only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import stat
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from alcore.disk import full_words, is_full, no_space
from alcore.errors import AlcoreError, DiskFullError, PermanentError
from alcore.stage import Inputs, Params

MANIFEST = "manifest.json"


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def recipe_key(stage: str, version: int, params: Params, inputs: Inputs) -> str:
    """Key of the artifact that `stage` makes from these inputs: the same recipe always has the same key.

    Placement, retries, paths and devices stay out on purpose; the order of several inputs of one name counts.
    """
    recipe = {
        "stage": stage,
        "version": version,
        "params": dict(params),
        "inputs": {name: [i.key for i in items] for name, items in inputs.items()},
    }
    return f"{stage}-{hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:40]}"


def fsync_dir(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Replace `path` by `data` so that a reader or a crash sees the old bytes or the new, never a mixture."""
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself. files: relative path -> {bytes, sha256}."""

    key: str
    stage: str
    version: int
    params: dict[str, Any]
    inputs: dict[str, list[str]]
    files: dict[str, dict[str, Any]]
    result: dict[str, Any]
    seconds: float


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a finished artifact; a directory without one is not an artifact."""
    path = directory / MANIFEST
    try:
        return Manifest(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as e:
        raise PermanentError(
            f"{path}: not a readable artifact manifest ({e}); remove the folder and it is made again"
        ) from e


def as_written(directory: Path, *names: str) -> None:
    """Raise PermanentError unless these files of an artifact are what was written: what is loaded as a model has to be ours.

    A directory without a manifest is no artifact, and whoever names one answers for it.
    """
    if not (directory / MANIFEST).is_file():
        return
    files = read_manifest(directory).files
    for path in (directory / name for name in names):
        try:
            found = path.stat()
            same = _sha256(path, found.st_size, found.st_mtime_ns, found.st_ino) == files[path.name]["sha256"]
        except (OSError, KeyError, TypeError):  # whoever opens it says what is missing
            continue
        if not same:
            raise PermanentError(
                f"{path}: is not the file that alscope wrote; bring it back from a backup, or train again"
            )


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class ArtifactStore:
    """All artifacts of one workspace, below one root; staging lies on the same file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / ".staging"

    def path(self, key: str) -> Path:
        """Where the artifact `key` is, or would be."""
        return self.root / key.rsplit("-", 1)[-1][:2] / key

    def has(self, key: str) -> bool:
        """True when the artifact is complete: the manifest is written last and renamed with everything else."""
        return (self.path(key) / MANIFEST).is_file()

    def discard(self, key: str) -> None:
        """Remove an artifact that nobody needs: it is there as a whole, or not at all. What a kill leaves is cleaned with the
        staging."""
        final = self.path(key)
        if not final.is_dir():
            return
        self.staging.mkdir(parents=True, exist_ok=True)
        aside = self.staging / f"{key}.{os.getpid()}.{_host()}{uuid.uuid4().hex[:8]}"
        final.chmod(stat.S_IRWXU)
        os.rename(final, aside)
        fsync_dir(final.parent)
        remove_tree(aside)

    def create(
        self,
        key: str,
        stage: str,
        version: int,
        params: Params,
        inputs: Inputs,
        fill: Callable[[Path], dict[str, Any]],
    ) -> Manifest:
        """Make the artifact by letting `fill` write into a fresh directory; an existing one is returned as it is.

        Raises DiskFullError for whatever `fill` raises because there was no room.
        """
        final = self.path(key)
        if self.has(key):
            return read_manifest(final)
        tmp = self.staging / f"{key}.{os.getpid()}.{_host()}{uuid.uuid4().hex[:8]}"
        tmp.mkdir(parents=True)
        began = time.monotonic()
        try:
            result = fill(tmp)
            manifest = Manifest(
                key=key,
                stage=stage,
                version=version,
                params=dict(params),
                inputs={name: [i.key for i in items] for name, items in inputs.items()},
                files=_seal_files(tmp),
                result=result,
                seconds=round(time.monotonic() - began, 3),
            )
            # without indentation, with which json is many times slower: that of a whole pool is megabytes
            write_atomic(tmp / MANIFEST, json.dumps(vars(manifest)).encode(), mode=0o440)
            for directory in sorted((p for p in tmp.rglob("*") if p.is_dir()), reverse=True):
                fsync_dir(directory)
            self._publish(tmp, final)
            return read_manifest(final)
        except Exception as e:
            # libraries have errors of their own for a failed write; only now, before the cleaning up, is the disk full
            if no_space(e) or (not isinstance(e, AlcoreError) and is_full(self.root)):
                raise DiskFullError(full_words(self.root)) from e
            raise
        finally:
            if tmp.exists():
                remove_tree(tmp)

    def _publish(self, tmp: Path, final: Path) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and not (final / MANIFEST).is_file():
            remove_tree(final)
        try:
            os.rename(tmp, final)
        except OSError:
            if not (final / MANIFEST).is_file():
                raise
            return  # somebody else finished the same recipe first; theirs is as good
        fsync_dir(final.parent)
        for directory in [final, *(p for p in final.rglob("*") if p.is_dir())]:
            directory.chmod(0o550)

    def clean_staging(self, pid: int | None = None) -> int:
        """Remove what crashed workers left behind: that of one dead process of this host, or all of it (only while no worker runs).

        Returns how many were removed. One that cannot be removed now is left for the next time.
        """
        found = list(self.staging.iterdir()) if self.staging.is_dir() else []
        leftovers = [path for path in found if pid is None or _is_of(path.name, pid)]
        removed = 0
        for path in leftovers:
            with contextlib.suppress(OSError):
                remove_tree(path)
                removed += 1
        return removed


@lru_cache(maxsize=1)
def _host() -> str:
    """Six letters for this host: process ids of other hosts that share the folder say nothing here."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_of(name: str, pid: int) -> bool:
    """Did this process of this host begin it? Names without a host are of a time when there was one only."""
    _, began, mark = (*name.split("."), "", "")[:3]
    return began == str(pid) and (len(mark) <= 8 or mark.startswith(_host()))


def remove_tree(path: Path) -> None:
    """Delete a tree whose directories may be read-only (ours are)."""
    for directory in [path, *(p for p in path.rglob("*") if p.is_dir() and not p.is_symlink())]:
        directory.chmod(stat.S_IRWXU)
    shutil.rmtree(path)


def _seal_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Hash, fsync and write-protect every file of a staged artifact."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
            os.fsync(f.fileno())
        path.chmod(0o440)
        files[str(path.relative_to(directory))] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    return files
