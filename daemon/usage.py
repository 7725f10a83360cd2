"""What the workspace takes, by kind: results as the database knows them, everything else walked through a little at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.store.connection import DATABASE

RESULTS: Mapping[str, str] = {
    "predict": "segmentations",
    "pretrain": "models",
    "finetune": "models",
    "encoder": "encoders and vectors",
    "embedding": "encoders and vectors",
    "kept_embedding": "encoders and vectors",
    "pseudo": "pseudo-labels",
    "traits": "pseudo-labels",
    "package": "labels and suggestions",
    "label": "labels and suggestions",
    "truth": "labels and suggestions",
}
"""Kinds of results by the stage that makes them."""
OTHER = "other results"
CACHE = "cache"
FOLDERS: Mapping[str, str] = {
    "cache": CACHE,
    "jobs": "logs and checkpoints",
    "predictions": "predictions/",
    "queue": "queue/",
    "labels": "labels/",
    "inbox": "inbox/",
    "drafts": "drafts/",
    "rejected": "rejected/",
    "found": "found/",
    "report": "report/",
    "backups": "backups/",
}
"""Kinds of what lies in the folders of a workspace; those of people are called as they are."""
DATABASES = "database"
LOOK_EVERY = 64
"""Entries of folders between two looks at the clock."""
BUDGET_S = 0.05
"""For so long at a time measuring holds up the daemon, which asks every ten seconds: half a percent of a core."""
REST_S = 600.0
"""Between two measurements."""


def of_results(by_stage: Mapping[str, int]) -> dict[str, int]:
    """Bytes by kind, from bytes by stage."""
    found: dict[str, int] = {}
    for stage, n in by_stage.items():
        kind = RESULTS.get(stage, OTHER)
        found[kind] = found.get(kind, 0) + n
    return found


def walked(root: Path) -> Iterator[tuple[str, int]]:
    """(kind, bytes on the disk) of every file of a workspace that is no result, one after the other. Links are not followed;
    what vanishes meanwhile does not count. Between files that are looked at in a batch, (kind, 0)."""
    for path in root.glob(f"{DATABASE}*"):
        yield DATABASES, bytes_of(path)
    for name, kind in FOLDERS.items():
        yield kind, 0
        waiting = [root / name]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        try:
                            if entry.is_dir(follow_symlinks=False):
                                waiting.append(Path(entry.path))
                            yield kind, entry.stat(follow_symlinks=False).st_blocks * 512
                        except OSError:
                            continue
            except OSError:
                continue


def bytes_of(path: Path) -> int:
    """What one file, or everything in a folder, takes on the disk."""
    found = 0
    try:
        found = path.lstat().st_blocks * 512
        if path.is_dir() and not path.is_symlink():
            found += sum(bytes_of(Path(entry)) for entry in path.iterdir())
    except OSError:
        return found
    return found


@dataclass
class Measuring:
    """Walks through a workspace again and again. others: bytes by kind as of the last whole walk; None: there was none yet."""

    root: Path
    others: dict[str, int] | None = None
    ended: float = float("-inf")
    _walk: Iterator[tuple[str, int]] | None = field(default=None, init=False)
    _sums: dict[str, int] = field(default_factory=dict, init=False)

    def step(self, now: float, hurry: bool, budget_s: float = BUDGET_S) -> bool:
        """Go on for about so long; True when a walk came to its end. hurry: without a rest between two."""
        if self._walk is None:
            if not hurry and 0 <= now - self.ended < REST_S:
                return False
            self._walk, self._sums = walked(self.root), {}
        until = time.monotonic() + budget_s
        for number, (kind, n) in enumerate(self._walk, 1):
            self._sums[kind] = self._sums.get(kind, 0) + n
            if number % LOOK_EVERY == 0 and time.monotonic() > until:
                return False
        self._walk, self.others, self.ended = None, self._sums, now
        return True

    def shed(self, n_bytes: int) -> None:
        """So much of the caches went since: a walk that is under way may or may not have seen it, and is begun anew."""
        self._walk = None
        if self.others is not None:
            self.others[CACHE] = max(0, self.others.get(CACHE, 0) - n_bytes)
