"""Makes the nightly backup of the database, and says so when it fails."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from daemon.errors import WorkspaceError
from daemon.retention import backup_due
from daemon.store.backups import NIGHTLY, back_up, listing, prune
from daemon.store.store import Store
from daemon.workspace import Workspace

log = logging.getLogger("alscope")

AGAIN_S = 1800.0
"""After a failure it is tried again so much later."""


@dataclass
class Backing:
    """Called by the engine every few minutes. A backup that fails leaves the old ones, and is a problem for people."""

    store: Store
    workspace: Workspace
    keep: int
    failed_at: float = 0.0

    def run(self, now: float) -> bool:
        """Make a backup if a night has passed since the last; returns whether one was made."""
        last = next((b.at for b in listing(self.workspace.root) if b.kind == NIGHTLY), None)
        if not backup_due(last, now, time.localtime(now).tm_gmtoff) or 0 <= now - self.failed_at < AGAIN_S:
            return False
        try:
            back_up(self.workspace.root, NIGHTLY, now)
            prune(self.workspace.root, self.keep)
        except (WorkspaceError, OSError) as e:
            self.failed_at = now
            words = f"no backup of the database could be made: {e}; the old ones stay, it is tried again"
            if self.store.state.problem("backup", "database", words, now):
                log.error("%s", words)
            return False
        self.store.state.solved("backup", "database")
        return True
