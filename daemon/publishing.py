"""Segmentations on their way into predictions/: copied a little at a time, then put in place of the former ones."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from alcore.artifact import fsync_dir
from daemon.store.predictions import Showing
from daemon.store.store import Store
from daemon.workspace import Workspace

STEP_BYTES = 32 << 20
"""Copied between two looks at the clock."""
BUDGET_S = 1.0
"""For so long at a time copies hold up the daemon."""
FORMS = (".tif", ".ome.zarr")
UNCERTAINTY = "uncertainty"
"""Folder below predictions/ for maps of uncertainty, under the names of the segmentations."""


class Publisher:
    """What the promoted model found is what people see, whichever way it came to be promoted.

    A segmentation (<name>.tif or <name>.ome.zarr), its table (<name>.csv) and its map of uncertainty are copied aside, whole,
    while the former ones stay. Then the former table goes, the segmentation takes its new shape in one rename, and only then
    the new table comes: at no moment, and after no crash, does a table stand beside the segmentation of another model. (A
    folder cannot be replaced in one step: an OME-Zarr is missing for the moment between two renames.)
    """

    def __init__(self, store: Store, workspace: Workspace) -> None:
        self._store, self._workspace = store, workspace
        self._current: tuple[Showing, Iterator[None]] | None = None

    def sweep(self) -> None:
        """Remove what a daemon that was killed had begun to copy, and what it had yet to remove."""
        for folder in (self._workspace.predictions, self._workspace.predictions / UNCERTAINTY):
            for path in folder.glob(".*.tmp"):
                remove(path)

    @property
    def copying(self) -> bool:
        """Is a segmentation half copied?"""
        return self._current is not None

    def step(self, budget_s: float = BUDGET_S) -> int:
        """Go on copying for about so long; returns how many segmentations were put in place."""
        until = time.monotonic() + budget_s
        done = 0
        while True:
            waiting = self._store.predictions.to_show(1)
            if self._current is not None and self._current[0] not in waiting:
                self._drop()  # another model was promoted meanwhile
            if not waiting:
                return done
            if self._current is None:
                if not self._workspace.artifacts.has(waiting[0].artifact):
                    self._lost(waiting[0])
                    continue
                self._current = (waiting[0], self._copy(waiting[0]))
            showing, copying = self._current
            try:
                for _ in copying:
                    if time.monotonic() > until:
                        return done
            except BaseException:
                self._current = None
                raise
            self._current = None
            self._store.predictions.shown(showing.volume_id, showing.model)
            done += 1
            if time.monotonic() > until:
                return done

    def _drop(self) -> None:
        if self._current is not None:
            self._current[1].close()  # type: ignore[attr-defined]
            self._current = None

    def _lost(self, showing: Showing) -> None:
        """Its files were deleted: what people see stays until it is made again."""
        now = time.time()
        self._store.predictions.forget(showing.volume_id, showing.model)
        job = self._store.jobs.by_key(showing.artifact)
        if job is not None and job.state == "done":
            self._store.jobs.withdraw(job.id, "its segmentation is not there any more", now)
            self._store.room.cleared([showing.artifact], now)
        text = (
            f"{showing.name}: the segmentation by {showing.model} is not there any more; the one in predictions/ stays until it "
            "is made again"
        )
        self._store.state.event("predict", text, now)

    def _copy(self, showing: Showing) -> Iterator[None]:
        """Copy everything aside, then swap."""
        source = self._workspace.artifacts.path(showing.artifact)
        folder = self._workspace.predictions
        maps = folder / UNCERTAINTY
        aside: dict[Path, Path] = {}
        try:
            for form in FORMS:
                for name, target in (("instances", folder), (UNCERTAINTY, maps)):
                    path = source / f"{name}{form}"
                    if path.exists():
                        target.mkdir(exist_ok=True)
                        aside[target / f"{showing.name}{form}"] = target / f".{uuid.uuid4().hex}.tmp"
                        yield from copy_aside(path, aside[target / f"{showing.name}{form}"])
            table = folder / f"{showing.name}.csv"
            if (source / "objects.csv").is_file():
                aside[table] = folder / f".{uuid.uuid4().hex}.tmp"
                yield from copy_aside(source / "objects.csv", aside[table])
            self._swap(showing.name, aside)
        finally:
            for path in aside.values():
                remove(path)

    def _swap(self, name: str, aside: dict[Path, Path]) -> None:
        folder = self._workspace.predictions
        maps, table = folder / UNCERTAINTY, folder / f"{name}.csv"
        table.unlink(missing_ok=True)
        for form in FORMS:
            remove(maps / f"{name}{form}")
        fsync_dir(folder)
        for form in FORMS:
            if folder / f"{name}{form}" in aside:
                put(aside[folder / f"{name}{form}"], folder / f"{name}{form}")
        for form in FORMS:
            if folder / f"{name}{form}" not in aside:
                remove(folder / f"{name}{form}")
        for target, path in aside.items():
            if path.exists():
                put(path, target)


def copy_aside(source: Path, target: Path) -> Iterator[None]:
    """Copy a file or a folder durably, a step at a time; it may be written to afterwards, unlike an artifact."""
    if source.is_dir():
        target.mkdir(mode=0o750)
        for path in sorted(source.iterdir()):
            yield from copy_aside(path, target / path.name)
        fsync_dir(target)
        return
    with open(source, "rb") as i, open(target, "wb") as o:
        while piece := i.read(STEP_BYTES):
            o.write(piece)
            yield
        o.flush()
        os.fsync(o.fileno())
    os.chmod(target, 0o640)
    yield


def put(path: Path, target: Path) -> None:
    """Give a finished file or folder its name; a former folder of that name goes, a former file is replaced."""
    if path.is_dir() and target.exists():
        former = target.with_name(f".{uuid.uuid4().hex}.tmp")
        os.rename(target, former)
        os.rename(path, target)
        fsync_dir(target.parent)
        remove(former)
        return
    if target.is_dir():
        remove(target)
    os.replace(path, target)
    fsync_dir(target.parent)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there. A folder is renamed first: nobody sees half of it."""
    if path.is_dir() and not path.is_symlink():
        if not path.name.startswith("."):
            hidden = path.with_name(f".{uuid.uuid4().hex}.tmp")
            os.rename(path, hidden)
            path = hidden
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
