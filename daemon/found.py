"""After the database was put back or made anew: what it does not know is found again on the disk. People's work is never removed."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alcore.arrays.splits import assign_role
from alcore.artifact import MANIFEST, fsync_dir, read_manifest, write_atomic
from alcore.errors import PermanentError
from daemon.config import Settings
from daemon.store.found import Found, FoundLabel, Place
from daemon.store.integrity import stamp
from daemon.store.store import Store
from daemon.wording import count
from daemon.workspace import Workspace

log = logging.getLogger("alscope")

REQUEST = "rescue.json"
RESTORED, REBUILT = "restored", "rebuilt"
LOST = (
    "the queue and who had claimed what, skipped patches, blind repeats, which model was in use and the scores of rounds (the next "
    "round trains on all labels found), the story of jobs, events and alarms"
)
RECORD = ".json"


def ask_for_it(workspace: Workspace, kind: str, why: str, now: float) -> None:
    """Have the next daemon look on the disk for what its database does not know. kind: RESTORED or REBUILT."""
    write_atomic(workspace.root / REQUEST, json.dumps({"kind": kind, "why": why, "at": now}).encode())


@dataclass
class Finding:
    """The hands of `daemon.store.found`. Called by the engine: `find` at the start, `bring` all the time."""

    store: Store
    workspace: Workspace
    settings: Settings

    def find(self, now: float) -> None:
        """Carry out a request, if there is one. It may be begun again after any crash."""
        request = self.workspace.root / REQUEST
        try:
            said = json.loads(request.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            said = {}
        labels = list(self._labels())
        self.store.found.add(labels)
        moved = self._set_apart(now)
        words = f"{said.get('why', 'the database was exchanged')}. Found on the disk: {count(len(labels), 'label')} that it did not know"
        words += (
            f"; {moved} other files and folders that it did not know are in {self.workspace.found.name}/"
            if moved
            else ""
        )
        words += f". Lost: {LOST}" if said.get("kind") == REBUILT else ""
        self.store.state.event("daemon", words, now)
        log.warning("%s", words)
        request.unlink()

    # what labels there are

    def _labels(self) -> Iterator[FoundLabel]:
        records = self._records()
        for folder in sorted(self.workspace.root.glob("artifacts/??/label-*")):
            yield from self._label(folder, folder.name, records)
        for folder in sorted(self.workspace.root.glob("artifacts/??/truth-*/*")):
            if (folder / "label.json").is_file():
                yield from self._label(folder, f"{folder.parent.name}/{folder.name}", records)

    def _records(self) -> dict[str, dict[str, Any]]:
        """What was written beside labels when they were accepted, by artifact."""
        found = {}
        for path in (self.workspace.labels / "received").glob(f"*{RECORD}"):
            try:
                record = json.loads(path.read_text())
                found[str(record["artifact"])] = record
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("%s: cannot be read; the label is found without what it said", path)
        return found

    def _label(self, folder: Path, artifact: str, records: dict[str, dict[str, Any]]) -> Iterator[FoundLabel]:
        if self.store.found.knows(artifact):
            return
        record = records.get(artifact, {})
        if record.get("repeat"):
            return  # it compares two people; the label of the patch is another
        try:
            page = json.loads((folder / "label.json").read_text())
            whole = folder if (folder / MANIFEST).is_file() else folder.parent
            manifest = read_manifest(whole)
            suggestion = str(record.get("suggestion", page["suggestion"]))
            published = (self.workspace.labels / f"{suggestion}.tif").exists()
            if record.get("withdrawn_at") is not None or (not record and manifest.stage == "label" and not published):
                return  # it was withdrawn
            sha256 = str(record.get("sha256") or "".join(manifest.inputs.get("file", [])[:1]).removeprefix("sha256:"))
            yield FoundLabel(
                artifact,
                str(page["volume_sha256"]),
                json.dumps(page["box"]),
                suggestion,
                self._file(record, manifest.params, suggestion)
                or str((folder / "label.tif").relative_to(self.workspace.root)),
                sha256 or artifact,
                str(record.get("author", "")),
                json.dumps(dict(record.get("note") or {})),
                str(record.get("role", "")),
                json.dumps({k: page[k] for k in ("n_objects", "seen_fraction", "warnings") if k in page}),
                float(record.get("received_at") or (whole / MANIFEST).stat().st_mtime),
            )
        except (OSError, ValueError, KeyError, TypeError, PermanentError) as e:
            log.warning("%s: a label that cannot be used (%s); `alscope verify` looks at it", folder, e)

    def _file(self, record: dict[str, Any], params: dict[str, Any], suggestion: str) -> str:
        """The label as it came, where `_set_apart` leaves it; "" when it is not there."""
        received = self.workspace.labels / "received"
        name = str(record.get("file", "")).rpartition("/")[2]
        if not name and "received" in params:
            stem = f"{suggestion}-{int(params['received']):05d}"
            name = next(
                (p.name for p in received.glob(f"{stem}.*") if p.suffix != RECORD and ".seen." not in p.name), ""
            )
        return str((received / name).relative_to(self.workspace.root)) if name and (received / name).is_file() else ""

    # what would be taken for something else

    def _set_apart(self, now: float) -> int:
        """Move what bears the name of a suggestion that is not known out of the way: a new suggestion may get the name."""
        root, store = self.workspace.root, self.store.found
        apart = self.workspace.found / stamp(now)
        moved = 0
        for folder in (self.workspace.queue, self.workspace.drafts, self.workspace.inbox, self.workspace.labels):
            names = (
                [p.name for p in folder.iterdir() if not p.name.startswith(".") and p.name != "received"]
                if folder.is_dir()
                else []
            )
            unknown = store.unknown_suggestions(sorted({n.partition(".")[0] for n in names}))
            moved += self._move([folder / n for n in names if n.partition(".")[0] in unknown], apart / folder.name)
        received = self.workspace.labels / "received"
        files = {str(p.relative_to(root)): p for p in received.iterdir() if not p.name.startswith(".")}
        gone = [files[n] for n in sorted(store.unknown_files(list(files)))]
        kept = self._move(gone, apart / "received")
        if kept:
            self._moved_received(apart / "received")
        return moved + kept

    def _move(self, paths: list[Path], target: Path) -> int:
        for path in paths:
            target.mkdir(parents=True, exist_ok=True)
            os.rename(path, target / path.name)
        if paths:
            fsync_dir(target)
        return len(paths)

    def _moved_received(self, folder: Path) -> None:
        self.store.found.moved("labels/received/", f"{folder.relative_to(self.workspace.root)}/")

    # back into use

    def bring(self, now: float) -> int:
        """Accept the labels whose volumes are known by now; returns how many."""
        waiting = self.store.found.waiting()
        if not waiting:
            return 0
        told: Counter[str] = Counter()
        for label in waiting:
            place = self.store.found.place(label)
            if place is None or self.store.found.is_busy(place):
                continue
            role, why = self._role(label, place)
            with self.store.transaction():
                made = self.store.found.bring(label, place, role, now)
                if made is not None:
                    self.store.models.set_role_reason(made, why)
            told["again in use" if made is not None else "older than one that counts, left alone"] += 1
        left = len(waiting) - sum(told.values())
        if told:
            words = "; ".join(f"{count(n, 'label')} {what}" for what, n in sorted(told.items()))
            self.store.state.event("label", f"labels found on the disk: {words}", now)
        if left:
            words = f"{count(left, 'label')} found on the disk: used again when the volumes are read (in a watched folder, cut as before)"
            self.store.state.problem("found", "labels", words, now)
        else:
            self.store.state.solved("found", "labels")
        return sum(told.values())

    def _role(self, label: FoundLabel, place: Place) -> tuple[str, str]:
        """The role that it had, by its record or its patch; else as for any new label."""
        if had := self.store.found.role_of(place) or label.role:
            return had, "the role that it had"
        training = self.settings.training
        try:
            found = assign_role(
                list(self.store.models.placed()),
                str(place.volume_id),
                place.box,
                gate_share=training.gate_share,
                gate_max=training.gate_max_patches,
            )
        except ValueError:
            return "train", "it lies between training and held-out patches"
        return found.role, found.reason


def write_record(workspace: Workspace, found: Found, received_id: int) -> None:
    """Say beside a received label whose it is, when it came and what became of it, for the day when the database is lost."""
    record = found.record(received_id)
    if record is not None:
        name = f"{record['suggestion']}-{received_id:05d}{RECORD}"
        write_atomic(workspace.labels / "received" / name, json.dumps(record, indent=1).encode())
