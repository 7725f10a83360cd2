"""What becomes of a round that ended without a model: its training goes on, or its labels go into the next round."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.policy import round_again_s
from daemon.store.store import Store

UNDER_WAY = ("waiting", "ready", "running")


@dataclass(frozen=True)
class FailedRounds:
    """Only the newest round is ever taken up again: a later one has all labels of those before it."""

    store: Store

    def taken_up(self, now: float) -> bool:
        """Open the newest round again if it failed and its training goes on: because a person or a restart said so, or by itself
        when it failed for a reason that may have passed by now. Each failure doubles the wait."""
        failed = self.store.learning.failed_round()
        jobs = [] if failed is None else self.store.jobs.states("finetune", f"round:{failed.number}")
        if failed is None or not jobs:
            return False
        job_id, state = jobs[-1]
        mine = state not in UNDER_WAY
        if mine and (now < failed.at + round_again_s(failed.failures) or not self.store.jobs.gave_up(job_id)):
            return False
        with self.store.transaction():
            if mine:
                self.store.jobs.retry(job_id, now)
            self.store.learning.reopen_round(failed.number)
            self.store.state.event("round", f"round {failed.number}: its training is tried again", now)
        return True

    def let_another(self, every: int, now: float) -> bool:
        """May another round open by itself? After one that failed not on the very same labels, and not at every label."""
        failed = self.store.learning.failed_round()
        if failed is None:
            return True
        new = self.store.training.n_labels_in_no_round()
        return new >= every or (new > 0 and now >= failed.at + round_again_s(failed.failures))
