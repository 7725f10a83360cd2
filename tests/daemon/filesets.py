"""A format of a few bytes, behind the real stage `volume`: who belongs to whom is written in plain words.

"set:a.tif,b.tif" stands for these files and itself, "in:a.tif" says that a.tif describes it, an empty file is unusable (and
may have described anything), anything else is a volume by itself; so is a folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alcore.artifact import ArtifactStore
from alcore.errors import AlcoreError, PartOfSetError, SourceMissingError, UnreadableVolumeError
from alcore.run import QuietContext, _same_sources, execute
from alcore.volumes import Part
from daemon.executors.port import Finished, Order
from tests.daemon.scripted import BOXES, results


def members(path: Path) -> tuple[str, ...] | None:
    """As `alcore.volumes.members`."""
    if path.is_dir():
        return None
    try:
        content = path.read_text()
    except OSError as e:
        raise SourceMissingError(f"{path}: cannot be reached now") from e
    if not content:
        raise UnreadableVolumeError(f"{path}: an empty file")
    word, _, names = content.splitlines()[0].partition(":")
    if word == "set":
        return tuple(sorted({*names.split(","), path.name}))
    if word != "in":
        return None
    owner = path.with_name(names)
    if not owner.exists() or (owner.is_file() and not owner.read_bytes()):
        raise PartOfSetError(f"{path}: described elsewhere", str(owner), sorted({owner.name, path.name}))
    whole = members(owner) if owner.is_file() and owner.read_text().startswith("set:") else None
    if whole is None or path.name not in whole:
        raise UnreadableVolumeError(f"{path}: says that {owner.name} describes it, which does not name it")
    raise PartOfSetError(f"{path}: one of {len(whole)} files", str(owner), whole)


def strict(path: Path, read: Mapping[str, Any], limit_bytes: int) -> None:
    """As `alcore.volumes.check.strict`."""
    for name in members(path) or ():
        if not path.with_name(name).is_file():
            raise UnreadableVolumeError(f"{path}: {name} is missing")


def content_hash(path: Path, names: tuple[str, ...] | None = None) -> str:
    """The hash of an acquisition, written down a second time: of the file, or of one line per file of a fileset."""
    if path.is_file() and names is None:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    folder = path if names is None else path.parent
    files = [folder / n for n in names] if names is not None else [p for p in folder.rglob("*") if p.is_file()]
    whole = hashlib.sha256()
    for name, file in sorted((os.fsencode(p.relative_to(folder)), p) for p in files):
        data = file.read_bytes()
        whole.update(b"%d:%s:%d:%s\n" % (len(name), name, len(data), hashlib.sha256(data).hexdigest().encode()))
    return whole.hexdigest()


class Worker:
    """Runs the real stage `volume` on this format, and scripts all others, after a real comparison of their sources.

    meanwhile: called while an acquisition is read.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, meanwhile: Callable[[], None]) -> None:
        self.artifacts: ArtifactStore | None = None
        self._context = QuietContext(root / "scratch", root / "cache")
        self.read: list[str] = []

        def measured(source: Any, params: Any, select: Any, ctx: Any, tell: Any) -> Any:
            self.read.append(source.path.name)
            meanwhile()
            draft = {
                "shape": (1, 8, 64, 64),
                "dtype": "uint8",
                "voxel_um": None,
                "voxel_source": "unknown",
                "stats": (),
            }
            return draft, SimpleNamespace(middle=None, quality={}), []

        monkeypatch.setattr("alcore.volumes.members", members)
        monkeypatch.setattr("alcore.volumes.check.strict", strict)
        monkeypatch.setattr("alcore.volumes.parts", lambda path, read: [Part({}, "")])
        monkeypatch.setattr("alcore.stages.volume._measured", measured)
        monkeypatch.setattr("alcore.stages.volume._write", lambda *_: BOXES)

    def __call__(self, order: Order) -> Finished | dict[str, Any]:
        assert self.artifacts is not None
        try:
            if order.stage == "volume":
                execute(order.stage, order.inputs, order.params, self.artifacts, self._context)
                return Finished(order.job_id, order.fence, "done")
            _same_sources(order.inputs)
        except AlcoreError as e:
            return Finished(order.job_id, order.fence, "failed", str(e), e.kind, e.detail)
        return results(order)
