"""What people find in the workspace's folders, brought in line with the store: published, filed, withdrawn. Never half-written."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from pathlib import Path

from alcore.artifact import MANIFEST, fsync_dir, write_atomic
from daemon import sam_cache
from daemon.commands import leave_label_note
from daemon.found import write_record
from daemon.label_names import suffix_of
from daemon.publishing import Publisher
from daemon.stems import MOST_BYTES, file_stem
from daemon.store.labels import UNFINISHED
from daemon.store.rows import ReceivedRow, path_of
from daemon.store.sources import display_name
from daemon.store.store import Store
from daemon.workspace import Workspace

log = logging.getLogger("alscope.files")


class Files:
    """Level-triggered: `reconcile` may be called at any time, any number of times, after any crash."""

    def __init__(self, store: Store, workspace: Workspace) -> None:
        self._store = store
        self._workspace = workspace
        self._publisher = Publisher(store, workspace)

    @property
    def copying(self) -> bool:
        """Is a segmentation on its way to where people find it?"""
        return self._publisher.copying

    def sweep(self) -> None:
        """Remove what a daemon that was killed had begun to write. Call before anything else is written."""
        self._publisher.sweep()
        for folder in (self._workspace.queue, self._workspace.labels, self._workspace.rejected):
            for path in folder.glob(".*.tmp"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def reconcile(self) -> int:
        """Do whatever is left to do; returns how many things were done."""
        done = self._publish_packages() + self._withdraw_packages() + self._publisher.step() + self._file_labels()
        return done + sam_cache.tidy(self._workspace, lambda: {p for _, p in self._store.annotating.waiting()})

    def _publish_packages(self) -> int:
        done = 0
        for suggestion in self._store.annotation.to_publish():
            assert suggestion.package is not None
            source = self._workspace.artifacts.path(suggestion.package)
            target = self._workspace.queue / suggestion.id
            if not target.exists():
                tmp = self._workspace.queue / f".{suggestion.id}.{uuid.uuid4().hex[:8]}.tmp"
                tmp.mkdir()
                try:
                    for path in source.iterdir():
                        if path.name != MANIFEST:
                            copy_durably(path, tmp / path.name)
                    os.rename(tmp, target)
                except BaseException:
                    shutil.rmtree(tmp, ignore_errors=True)
                    raise
                fsync_dir(self._workspace.queue)
            self._store.annotation.set_published(suggestion.id, True)
            done += 1
        return done

    def _withdraw_packages(self) -> int:
        """An answered suggestion leaves the queue; files that people put there themselves stay."""
        gone = self._store.annotation.to_withdraw()
        for suggestion in gone:
            assert suggestion.package is not None
            folder = self._workspace.queue / suggestion.id
            for path in self._workspace.artifacts.path(suggestion.package).iterdir():
                (folder / path.name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
            self._store.annotation.set_published(suggestion.id, False)
        return len(gone)

    def _file_labels(self) -> int:
        """Move label files to where their state wants them: received, then labels/ or rejected/."""
        labels = self._store.labels
        done = 0
        for received in labels.received("filed = 0"):
            ours = self._workspace.root / received.file
            theirs = path_of(received.inbox_path)
            if received.state == "checking" and not ours.exists():
                if missing := self._taken(received):
                    labels.reject(received, f"{missing}: the file left the inbox before it could be read", 0.0)
                    continue
            elif received.state == "accepted":
                key = labels.artifact_of(received.id)
                if key is None:  # it was withdrawn
                    (self._workspace.labels / f"{received.suggestion.id}.tif").unlink(missing_ok=True)
                elif self._workspace.artifacts.has(key.partition("/")[0]):  # a person may have deleted it
                    self.publish_label(received.suggestion.id, key)
                write_record(self._workspace, self._store.found, received.id)
            elif (
                received.state == "rejected" and received.reason == UNFINISHED and ours.exists() and not theirs.exists()
            ):
                leave_label_note(self._workspace, received.suggestion.id, received.note)
                for mine, back in reversed(self._places(received)):
                    if mine.exists() and not back.exists():
                        os.rename(mine, back)  # it settles there again
                fsync_dir(theirs.parent)
            elif received.state == "rejected":
                for mine, back in self._places(received):
                    if mine.exists():
                        name = f"{received.suggestion.id}-{received.id:05d}{suffix_of(back.name)}"
                        set_aside(mine, name, received.reason, self._workspace.rejected)
            labels.set_filed(received.id, True)
            done += 1
        return done

    def _places(self, received: ReceivedRow) -> list[tuple[Path, Path]]:
        """(with us, in the inbox) of a label and of the mask that came with it."""
        files = [(received.file, received.inbox_path)]
        if received.seen is not None:
            files.append((received.seen.file, received.seen.inbox_path))
        return [(self._workspace.root / ours, path_of(theirs)) for ours, theirs in files]

    def _taken(self, received: ReceivedRow) -> str:
        """Move a label out of the inbox, its mask before it; returns the name of a file that is not there, else ""."""
        for ours, theirs in reversed(self._places(received)):
            if not ours.exists():
                if not theirs.exists():
                    return theirs.name
                os.rename(theirs, ours)
                fsync_dir(ours.parent)
        return ""

    def publish_label(self, suggestion_id: str, artifact: str) -> None:
        """labels/<suggestion>.tif: the label as it was accepted."""
        copy_durably(
            self._workspace.artifacts.path(artifact) / "label.tif", self._workspace.labels / f"{suggestion_id}.tif"
        )


def set_aside(path: Path, name: str, reason: str, rejected: Path) -> Path:
    """Move a file into rejected/ under a name that is free, with the reason in a text file beside it."""
    if len(os.fsencode(name)) > MOST_BYTES:  # there has to be room for what tells two apart, and for ".txt"
        name = file_stem(display_name(os.fsencode(name))) + Path(name).suffix[:10]
    target = rejected / name
    number = 1
    while target.exists():
        number += 1
        target = rejected / f"{Path(name).stem}-{number}{Path(name).suffix}"
    write_atomic(target.with_name(target.name + ".txt"), (reason + "\n").encode(errors="backslashreplace"))
    os.rename(path, target)
    fsync_dir(rejected)
    return target


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file so that under its new name it is only ever seen whole; an earlier one is replaced."""
    tmp = target.with_name(f".{uuid.uuid4().hex}.tmp")  # without its name, which may be as long as names can be
    try:
        with open(source, "rb") as i, open(tmp, "wb") as o:
            shutil.copyfileobj(i, o, 1 << 20)
            o.flush()
            os.fsync(o.fileno())
        os.chmod(tmp, 0o640)
        os.replace(tmp, target)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(target.parent)
