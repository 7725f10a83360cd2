"""Which labelled patches are put before a second person, and which pairs of labels are still to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.config import Settings
from daemon.planner import Planner
from daemon.store.rows import Wanted
from daemon.store.store import Store


@dataclass(frozen=True)
class RepeatPlans:
    """Blind repeats (docs/decisions/0011). What they say is a ceiling for models, and trains none."""

    store: Store
    planner: Planner
    settings: Settings

    def ask_again(self, now: float) -> None:
        """Put as many labelled patches into the queue again as config.toml wants. Nobody is told which."""
        self.store.repeats.ask_again(self.settings.annotation.repeat_share, self.settings.run.seed, now)

    def agreements(self) -> Iterator[Wanted]:
        """Every pair of labels by two people ought to be compared."""
        for suggestion, first, second in self.store.repeats.to_compare():
            yield self.planner.agreement(suggestion, first, second)
