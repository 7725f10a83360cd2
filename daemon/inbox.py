"""Label files that people save: taken when they answer a suggestion, set aside with the reason when not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from daemon import commands
from daemon.config import Settings
from daemon.files import set_aside
from daemon.results import printable
from daemon.store.store import Store
from daemon.workspace import Workspace

LABEL_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class Inbox:
    """The folder into which labels are saved."""

    settings: Settings
    workspace: Workspace
    store: Store

    def arrived(self, path: Path, now: float) -> None:
        """A file in the inbox is whole: take it if it answers a suggestion, set it aside with the reason if not."""
        suggestion_id = path.name.removesuffix(".tiff").removesuffix(".tif")
        suggestion = self.store.annotation.suggestion(suggestion_id)
        reason = ""
        if path.suffix.lower() not in LABEL_SUFFIXES:
            reason = f"{printable(path.name)}: labels are TIFF files named <suggestion>.tif; export it as TIFF"
        elif suggestion is None:
            reason = (
                f"{printable(path.name)}: there is no suggestion {printable(suggestion_id)!r}; "
                "`alscope queue` lists the names to use"
            )
        elif path.stat().st_size > self.settings.inbox.max_gb * 1e9:
            reason = f"{printable(path.name)}: larger than inbox.max_gb = {self.settings.inbox.max_gb:g}; not a label?"
        elif suggestion.package is None or suggestion.state == "submitted":
            return  # its turn comes: the ingest reports the file again
        if reason:
            set_aside(path, path.name, reason, self.workspace.rejected)
            self.store.state.event("label", f"rejected: {reason}", now)
            return
        assert suggestion is not None
        note = commands.label_note(self.workspace, suggestion_id)
        digest = _sha256(path)
        self.store.labels.receive(
            suggestion, os.fsencode(path), digest, bool(note.get("empty")), str(note.get("user", "")), now
        )
        commands.drop_label_note(self.workspace, suggestion_id)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
