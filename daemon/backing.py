"""Makes the nightly backup of the database beside the daemon's other work, and says so when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon.errors import WorkspaceError
from daemon.retention import backup_due
from daemon.store.backups import NIGHTLY, back_up, listing, prune
from daemon.store.store import Store
from daemon.workspace import Workspace

log = logging.getLogger("alscope")

AGAIN_S = 1800.0
"""After a failure it is tried again so much later."""


def in_a_thread(call: Callable[[], None]) -> None:
    """Call it while the caller goes on. It does not hold up the end of the process: a copy that is half made has another name."""
    threading.Thread(target=call, name="backup", daemon=True).start()


@dataclass
class Backing:
    """Called by the engine every few minutes. A backup that fails leaves the old ones, and is a problem for people.

    beside: how the copy is made; it takes seconds (270 MB: 3.4 s), on a slow disk more, in which the daemon has to go on.
    """

    store: Store
    workspace: Workspace
    keep: int
    beside: Callable[[Callable[[], None]], None] = in_a_thread
    failed_at: float = 0.0
    making: bool = False
    outcome: str | None = None

    def run(self, now: float) -> bool:
        """Begin a backup if a night has passed since the last; returns whether one was begun."""
        self.tell(now)
        if self.making:
            return False
        last = next((b.at for b in listing(self.workspace.root) if b.kind == NIGHTLY), None)
        if not backup_due(last, now, time.localtime(now).tm_gmtoff) or 0 <= now - self.failed_at < AGAIN_S:
            return False
        self.making = True
        self.beside(lambda: self._make(now))
        self.tell(now)
        return True

    def _make(self, now: float) -> None:
        """Does not touch the store, which is the engine's."""
        words = "it did not come to its end"
        try:
            back_up(self.workspace.root, NIGHTLY, now)
            prune(self.workspace.root, self.keep)
            words = ""
        except (WorkspaceError, OSError) as e:
            words = str(e)
        finally:
            self.outcome = words

    def tell(self, now: float) -> None:
        """Say what became of the backup that was begun, once it is known."""
        outcome, self.outcome = self.outcome, None
        if outcome is None:
            return
        self.making = False
        if not outcome:
            self.store.state.solved("backup", "database")
            return
        self.failed_at = now
        words = f"no backup of the database could be made: {outcome}; the old ones stay, it is tried again"
        if self.store.state.problem("backup", "database", words, now):
            log.error("%s", words)
