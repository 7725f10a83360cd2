"""Removes segmentations by models that are out of use for good; those in predictions/, and of models that may return, stay."""

from __future__ import annotations

import time
from dataclasses import dataclass

from daemon.pages import PageKeeper
from daemon.retention import DAY_S, kept_models
from daemon.store.models import pile
from daemon.store.outgrown import Outgrown
from daemon.store.store import Store
from daemon.wording import count
from daemon.workspace import Workspace

EVERY_S = 3600.0
BUDGET_S = 0.5
"""For so long at a time removing holds up the daemon; it goes on at the next call, some seconds later."""
AT_ONCE = 256


@dataclass
class Clearing:
    """The hands of `retention.kept_models`. Called by the engine every few seconds; looks once an hour.

    Files go first, then the record of them: killed in between, the record says less than the truth for a moment only, and is
    put right by the next call, or by the publisher.
    """

    store: Store
    workspace: Workspace
    keep_models: int
    keep_days: float
    pages: PageKeeper
    seen: float = 0.0

    def run(self, now: float) -> int:
        """Remove what is due; returns how many segmentations."""
        if now - self.seen < EVERY_S:
            return 0
        until = time.monotonic() + BUDGET_S
        gone = []
        for one in self._due(now):
            if time.monotonic() > until:
                break
            self.workspace.artifacts.discard(one.artifact)
            gone.append(one)
        if not gone:
            self.seen = now
            return 0
        text = (
            f"{count(len(gone), 'segmentation')} by models out of use cleared away (prediction.keep_models, keep_days)"
        )
        with self.store.transaction():  # one write to the disk, however many
            for one in gone:
                self.store.outgrown.cleared(one, "its segmentation was cleared away", now)
            self.store.state.event("predict", text, now)
        return len(gone)

    def _due(self, now: float) -> list[Outgrown]:
        history = self.store.models.promotions()
        if not history:
            return []
        since = [(step.model, step.at) for step in history]
        kept = kept_models(since, pile(history), now, self.keep_models, self.keep_days)
        outgrown = self.store.outgrown
        found = outgrown.of_models_but(kept, AT_ONCE) or outgrown.replaced(now - self.keep_days * DAY_S, AT_ONCE)
        needed = self.pages.named(self.store.room.needed())
        return [one for one in found if one.artifact not in needed]
