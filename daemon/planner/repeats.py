"""What ought to be known of how well people agree."""

from __future__ import annotations

from daemon.planner.base import Recipes
from daemon.policy import PRIORITY
from daemon.store.rows import Wanted


class RepeatRecipes(Recipes):
    """Two labels of one patch."""

    def agreement(self, suggestion_id: str, first: str, second: str) -> Wanted:
        """Two people labelled the patch of a repeat: how well do they agree? first, second: label artifacts."""
        return Wanted(
            stage="agreement",
            subject=f"suggestion:{suggestion_id}",
            inputs={"first": [self.artifact(first)], "second": [self.artifact(second)]},
            params={},
            priority=PRIORITY["agreement"],
            spec="",
        )
