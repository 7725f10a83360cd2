"""The port of what learns: it is given patches, segments a test region, and tells what selection may know of a model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alcore.simulation.pool import Rows
from alcore.types import Scores


class Learner(Protocol):
    """For one test region and seed of one pool. Everything it tunes, it tunes on the patches it is given."""

    def learn(self, rows: Rows, pretrained: bool) -> Any:
        """A model of these labelled patches (ascending; none: of the pseudo-labels alone). The same ones give the same model."""

    def scores(self, model: Any) -> Scores:
        """On the test region, at IoU 0.5."""

    def seen(self, model: Any) -> dict[str, npt.NDArray[np.float32]]:
        """Traits of the patches of the pool, in its order, that the model adds or knows better."""

    def notes(self, model: Any) -> tuple[str, ...]:
        """What happened in learning that a person should know."""
