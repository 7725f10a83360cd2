"""Label files that people save: taken when they answer a suggestion, set aside with the reason when not."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from alcore.fileset import fingerprint_of
from alcore.plainfile import NotPlainError, open_plain
from daemon import commands
from daemon.config import Settings
from daemon.files import set_aside
from daemon.label_names import KNOWN, SEEN, ending_of, is_seen_mask, stem_of, suffix_of
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
    _whole: dict[Path, str] = field(default_factory=dict, init=False)
    """Masks of what was looked at that have settled, as they were then."""

    def arrived(self, path: Path, now: float) -> None:
        """A file in the inbox is whole: take it if it answers a suggestion, set it aside with the reason if not. A label goes
        together with the mask of what was looked at, where one lies beside it."""
        suggestion = self.store.annotation.suggestion(stem_of(path.name))
        reason = self._refused(path, suggestion)
        if reason:
            set_aside(path, path.name, reason, self.workspace.rejected)
            self.store.state.event("label", f"rejected: {reason}", now)
            return
        assert suggestion is not None
        if suggestion.state == "submitted" or (suggestion.package is None and suggestion.state in WAITS):
            return  # its turn comes: the ingest reports the file again
        if is_seen_mask(path.name):
            self._waits(path, suggestion, now)
            return
        mask = self._mask(suggestion.id, now)
        if mask is not None and self._whole.get(mask) != _now(mask):
            return  # the mask is still being saved: the label waits for it
        note = commands.label_note(self.workspace, suggestion.id)
        try:
            seen = None if mask is None else (os.fsencode(mask), _sha256(mask))
            digest = _sha256(path)
        except (FileNotFoundError, NotPlainError):
            return  # exchanged since the scan saw it: what lies there now is seen, or is no label, as it is
        self.store.labels.receive(suggestion, os.fsencode(path), digest, note, now, seen)
        commands.drop_label_note(self.workspace, suggestion.id)
        if mask is not None:
            self._whole.pop(mask, None)

    def _waits(self, mask: Path, suggestion: SuggestionRow, now: float) -> None:
        """A mask of what was looked at is whole; it is taken with its label, and says so once where there is none yet."""
        told = self._whole.get(mask) == _now(mask)
        self._whole[mask] = _now(mask)
        if not told and not any(p for p in self._beside(suggestion.id) if not is_seen_mask(p.name)):
            what = "is labelled already: save its label again, and the mask goes with it"
            what = what if suggestion.state == "accepted" else f"has no label yet: it is taken with {suggestion.id}.tif"
            self.store.state.event("label", f"{printable(mask.name)} waits: {suggestion.id} {what}", now)

    def _mask(self, suggestion_id: str, now: float) -> Path | None:
        """What was looked at, as a file beside the label. Of several the one saved last counts; the others are set aside."""
        found = [p for p in self._beside(suggestion_id) if is_seen_mask(p.name)]
        found.sort(key=lambda p: (p.stat().st_mtime_ns, p.name))
        for path in found[:-1]:
            reason = f"{printable(path.name)}: {printable(found[-1].name)} says as well what was looked at, and was saved later"
            set_aside(path, path.name, reason, self.workspace.rejected)
            self.store.state.event("label", f"rejected: {reason}", now)
        return found[-1] if found else None

    def _beside(self, suggestion_id: str) -> list[Path]:
        """Files of one suggestion in the inbox."""
        return [p for p in self.workspace.inbox.iterdir() if stem_of(p.name) == suggestion_id and ending_of(p.name)]

    def _refused(self, path: Path, suggestion: SuggestionRow | None) -> str:
        """Why a file cannot be a label; "" when it may be one."""
        name = printable(path.name)
        ending = ending_of(path.name)
        if not ending:
            return f"{name}: a label is a {KNOWN} named <suggestion>.<ending>; export it as one of these"
        if suggestion is None or suffix_of(path.name) not in (ending, f"{SEEN}{ending}"):
            near = re.match(r"[sS](\d{1,9})(?!\d)", path.name)
            meant = f"s{int(near[1]):05d}" if near else ""
            meant = meant if self.store.annotation.suggestion(meant) is not None else ""
            hint = f"is it {meant}{ending}?" if meant else "`alscope queue` lists the names to use"
            return f"{name}: there is no suggestion {printable(path.name[: -len(ending)])!r}; {hint}"
        if suggestion.state == "skipped" and suggestion.package is None:
            return (
                f"{name}: {suggestion.id} was taken out of the queue before its folder was made, so there is no image that the "
                f"label could belong to; the file is kept: save it again if {suggestion.id} comes back (`alscope queue`)"
            )
        if path.stat().st_size > self.settings.inbox.max_gb * 1e9:
            return f"{name}: larger than inbox.max_gb = {self.settings.inbox.max_gb:g}; not a label?"
        return ""


def _now(path: Path) -> str:
    """The fingerprint of a file as it is; "" when it is gone."""
    found = fingerprint_of(os.fsencode(path))
    return found.to_text() if found is not None else ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
