"""Label files that people save: taken when they answer a suggestion, set aside with the reason when not."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from daemon import commands
from daemon.config import Settings
from daemon.files import set_aside
from daemon.label_names import KNOWN, ending_of, stem_of, suffix_of
from daemon.results import printable
from daemon.store.rows import SuggestionRow
from daemon.store.store import Store
from daemon.workspace import Workspace

WAITS = ("open", "claimed")
"""States of suggestions whose folder is still being made: their label waits for it."""


@dataclass(frozen=True)
class Inbox:
    """The folder into which labels are saved."""

    settings: Settings
    workspace: Workspace
    store: Store

    def arrived(self, path: Path, now: float) -> None:
        """A file in the inbox is whole: take it if it answers a suggestion, set it aside with the reason if not."""
        suggestion = self.store.annotation.suggestion(stem_of(path.name))
        reason = self._refused(path, suggestion)
        if reason:
            set_aside(path, path.name, reason, self.workspace.rejected)
            self.store.state.event("label", f"rejected: {reason}", now)
            return
        assert suggestion is not None
        if suggestion.state == "submitted" or (suggestion.package is None and suggestion.state in WAITS):
            return  # its turn comes: the ingest reports the file again
        note = commands.label_note(self.workspace, suggestion.id)
        self.store.labels.receive(suggestion, os.fsencode(path), _sha256(path), note, now)
        commands.drop_label_note(self.workspace, suggestion.id)

    def _refused(self, path: Path, suggestion: SuggestionRow | None) -> str:
        """Why a file cannot be a label; "" when it may be one."""
        name = printable(path.name)
        ending = ending_of(path.name)
        if not ending:
            return f"{name}: a label is a {KNOWN} named <suggestion>.<ending>; export it as one of these"
        if suggestion is None or suffix_of(path.name) != ending:
            near = re.match(r"s\d{5,}", path.name)
            meant = near[0] if near and self.store.annotation.suggestion(near[0]) is not None else ""
            hint = f"is it {meant}{ending}?" if meant else "`alscope queue` lists the names to use"
            return f"{name}: there is no suggestion {printable(path.name[: -len(ending)])!r}; {hint}"
        if path.stat().st_size > self.settings.inbox.max_gb * 1e9:
            return f"{name}: larger than inbox.max_gb = {self.settings.inbox.max_gb:g}; not a label?"
        return ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
