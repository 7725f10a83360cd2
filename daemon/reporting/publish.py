"""Where people find the report: report/ in the workspace, replaced file by file, the page last. Never half a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from alcore.artifact import MANIFEST, write_atomic
from daemon.store.reports import Made
from daemon.store.store import Store
from daemon.workspace import Workspace

PAGE = "report.html"
ABOUT = "report.json"
"""Beside the page: which report it is, and when it was made."""


def publish(artifact: Path, folder: Path, key: str, at: float) -> Path:
    """Put the files of a report where people find them; those of an earlier one go. Returns the page. at: when it was made.

    Each file is whole at any moment; the page comes after what lies beside it, and the note that says which report it is last.
    Files that people put there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _files_of(folder)
    files = sorted(p.relative_to(artifact) for p in artifact.rglob("*") if p.is_file() and p.name != MANIFEST)
    for name in [*(f for f in files if f.name != PAGE), Path(PAGE)]:
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomic(folder / name, (artifact / name).read_bytes())
    for old in before - {str(f) for f in files}:
        (folder / old).unlink(missing_ok=True)
    about = {"key": key, "at": at, "files": [str(f) for f in files]}
    write_atomic(folder / ABOUT, json.dumps(about, indent=1).encode())
    return folder / PAGE


def _files_of(folder: Path) -> set[str]:
    """What an earlier report put there."""
    names = _about(folder).get("files", [])
    if not isinstance(names, list):
        return set()
    return {str(n) for n in names if not Path(str(n)).is_absolute() and ".." not in Path(str(n)).parts}


def _about(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass
class Reporter:
    """Level-triggered: the newest report that a job made is what people find, unless they made a newer one themselves."""

    store: Store
    workspace: Workspace
    _seen: str = field(default="", init=False)

    def step(self) -> int:
        """Publish a report that is new; clear away what it replaces. Returns how many were published."""
        newest = self.store.reports.newest("report")
        if newest is None or newest.key == self._seen:
            return 0
        artifact = self.workspace.artifacts.path(newest.key)
        if not self._seen:
            self._sweep()
        done = 0
        if (artifact / PAGE).is_file() and self._is_newer(newest):
            publish(artifact, self.workspace.report, newest.key, newest.at)
            done = 1
        self._clear()
        self._seen = newest.key
        return done

    def _sweep(self) -> None:
        """Remove what a daemon that was killed had begun to write."""
        for path in [p for p in self.workspace.report.rglob(".*.tmp") if p.is_file()]:
            path.unlink(missing_ok=True)

    def _is_newer(self, made: Made) -> bool:
        about = _about(self.workspace.report)
        at = about.get("at")
        there = (self.workspace.report / PAGE).is_file()
        return not there or not isinstance(at, (int, float)) or (made.at > at and about.get("key") != made.key)

    def _clear(self) -> None:
        """Maps, pictures and reports of earlier rounds: nobody looks at them again."""
        for old in self.store.reports.older():
            self.workspace.artifacts.discard(old.key)
            self.store.jobs.withdraw(old.job, "a newer one has replaced it", old.at)
            self.store.room.cleared([old.key], old.at)
