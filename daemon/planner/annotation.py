"""What ought to be ready before somebody sits down at the annotation window."""

from __future__ import annotations

from pathlib import Path

from alcore.annotate.order import Weights
from alcore.stage import Input
from alcore.weights.places import digest
from daemon.planner.base import Recipes
from daemon.policy import PRIORITY
from daemon.store.rows import Wanted


class AnnotationRecipes(Recipes):
    """From the suggestion's folder to what Segment Anything sees in it."""

    def sam_embedding_spec(self, package: str, weights: Weights) -> str:
        """Name of looking at one patch with one model. Raises PermanentError when the weights cannot be read."""
        return self.spec("sam_embedding", package, digest(Path(weights.files[0])))

    def sam_embedding(self, suggestion_id: str, package: str, weights: Weights) -> Wanted:
        """A patch that waits ought to be known to Segment Anything. On a CPU that takes minutes, and goes into the long lane."""
        checkpoint = Path(weights.files[0])
        return Wanted(
            stage="sam_embedding",
            subject=f"suggestion:{suggestion_id}",
            inputs={
                "package": [self.artifact(package)],
                "weights": [Input(checkpoint, f"sha256:{digest(checkpoint)}")],
            },
            params={"model": weights.name},
            priority=PRIORITY["sam_embedding"],
            spec=self.sam_embedding_spec(package, weights),
            long=self.device == "cpu",
        )
