"""Keeps the workspace within disk.budget_gb: measures it, lets caches go near the limit, and holds new work back at it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from daemon.caches import parts
from daemon.retention import NEAR, pressure, to_shed
from daemon.store.store import Store
from daemon.usage import Measuring, of_results
from daemon.wording import size
from daemon.workspace import Workspace

log = logging.getLogger("alscope")

KIND, SUBJECT = "disk", "budget"
REMOVING_S = 0.5
"""For so long at a time removing caches holds up the daemon."""


@dataclass
class Budget:
    """Called by the engine every few seconds. standing: see `retention.pressure`.

    What has begun is finished: the workspace may be larger than its budget by what runs.
    """

    store: Store
    workspace: Workspace
    limit_gb: float
    measuring: Measuring
    standing: str = ""

    @classmethod
    def of(cls, store: Store, workspace: Workspace, limit_gb: float) -> Budget:
        """As it stood when the last daemon ended."""
        last = store.room.last()
        measuring = Measuring(workspace.root)
        full = any(subject == SUBJECT for _, subject, _ in store.alarms.problems((KIND,)))
        if last is not None:
            results = of_results(store.room.results())
            measuring.others = {kind: n for kind, n in last.kinds.items() if kind not in results}
        return cls(store, workspace, limit_gb, measuring, "full" if full else "")

    @property
    def full(self) -> bool:
        """Is new work held back?"""
        return self.standing == "full"

    @property
    def limit(self) -> int:
        """In bytes; 0: there is none."""
        return int(self.limit_gb * 1e9)

    def look(self, now: float) -> None:
        """Measure a little more, and act on what is known."""
        ended = self.measuring.step(now, hurry=bool(self.standing))
        if ended:
            self.store.room.measured(self._kinds(), self.limit, now)
        used = self.used() if self.limit else None  # a sum over all results, which is needed for nothing else
        standing = pressure(used, self.limit, self.full)
        if standing and self._shed(now):
            standing = pressure(self.used(), self.limit, self.full)
        self._tell(standing == "full", now)
        self.standing = standing

    def used(self) -> int | None:
        """Bytes that the workspace takes; None: not known yet."""
        return None if self.measuring.others is None else sum(self._kinds().values())

    def _kinds(self) -> dict[str, int]:
        return of_results(self.store.room.results()) | (self.measuring.others or {})

    def _shed(self, now: float) -> int:
        """Let caches go, the oldest first, until it is not near any more. Returns how many bytes."""
        running = {job.stage for job in self.store.jobs.running()}
        caches = parts(self.workspace, running, self.store.room.claimed())
        until, freed = time.monotonic() + REMOVING_S, 0
        too_much = (self.used() or 0) - NEAR * self.limit
        for place in to_shed([(cache.used, cache.n_bytes) for cache in caches], too_much):
            if time.monotonic() > until:
                break
            caches[place].remove()
            freed += caches[place].n_bytes
        if freed:
            self.measuring.shed(freed)
            text = (
                f"{size(freed)} of caches cleared, the oldest first: the workspace is near its budget (disk.budget_gb)"
            )
            self.store.state.event(KIND, text, now)
        return freed

    def _tell(self, full: bool, now: float) -> None:
        state = self.store.state
        if full:
            text = (
                f"{self.workspace.root}: takes {size(self.used() or 0)}, disk.budget_gb = {self.limit_gb:g}: no new work until "
                "there is room (files are noticed, labels accepted); `alscope status --disk` shows where it went"
            )
            if state.problem(KIND, SUBJECT, text, now):
                state.event(KIND, text, now)
                log.warning("%s", text)
        elif state.solved(KIND, SUBJECT):
            state.event(KIND, "the workspace is within its budget again (disk.budget_gb)", now)
