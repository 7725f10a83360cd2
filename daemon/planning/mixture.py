"""Single planes and stacks that share a model: nothing else tells them apart, so people are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alcore.kinds import MadeFor
from daemon.planning.training import TrainingPlans, groups
from daemon.store.store import Store
from daemon.store.training import Amount
from daemon.wording import count

PROBLEM = ("mixed", "single planes")
"""Kind and subject of the problem."""


@dataclass(frozen=True)
class Mixture:
    """told: what was said last; nothing is written while that is the same."""

    store: Store
    training: TrainingPlans
    told: list[str] = field(default_factory=list)

    def tell(self, now: float) -> None:
        """It is a problem while the pool holds both."""
        text = mixture(self.training.amounts())
        if self.told == [text]:
            return
        if not text:
            self.store.state.solved(*PROBLEM)
        elif self.store.state.problem(*PROBLEM, text, now):
            self.store.state.event("hint", text, now)
        self.told[:] = [text]


def mixture(amounts: Sequence[Amount]) -> str:
    """What there is of single planes and of stacks that one model takes, in words; "" where no model takes both."""
    found = []
    for kind, _, _ in groups(amounts):
        alike = [a for a in amounts if MadeFor(kind).takes(a.kind)]
        planes = sum(a.n_planes for a in alike)
        stacks = sum(a.n_volumes for a in alike) - planes
        if planes and stacks:
            found.append(f"{count(planes, 'single plane')} and {count(stacks, 'stack')} ({kind})")
    if not found:
        return ""
    return (
        f"{'; '.join(found)} share one model, its plan and the patches that judge it; give them workspaces of their own"
    )
