"""Two arms of labels compared by what learners fitted on them do: draws, and a paired interval of the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.fastlearner.learner import Model
from alcore.fastlearner.training_set import Array

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """Dice of both arms, their difference (selected - control) and its 95 % interval."""

    selected: float
    control: float
    difference: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, rounded to what can be meant."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def draws(
    n_selected: int, n_control: int, n: int, repeats: int, seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """`repeats` times: which `n` labels of each arm a pair of learners is fitted on, drawn with replacement.

    With replacement, so that the scatter between repeats is the one that other labels of the same kind would bring (the
    bootstrap, Efron 1979). Subsets of one arm would hardly differ where it has few labels, and the interval would say
    nothing about the luck of the draw.
    """
    rng = np.random.default_rng([seed, 1])
    for _ in range(repeats):
        yield rng.integers(n_selected, size=n), rng.integers(n_control, size=n)


def overlaps(
    pairs: Sequence[tuple[Model, Model]],
    filtered_image: Array,
    truth: npt.NDArray[np.generic],
    seen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Voxel counts (pairs, 2, 3) of every model on one gate label: predicted, true, and both.

    filtered_image (F, Z, Y, X), truth (Z, Y, X) instances: on the working grid. True is all of an object, borders included.
    seen: the voxels (Z, Y, X) that count, None = all.
    """
    if seen is None:
        seen = np.ones(truth.shape, bool)
    foreground = (truth != 0) & seen
    counts = np.zeros((len(pairs), 2, 3), np.int64)
    for number, pair in enumerate(pairs):
        for arm, model in enumerate(pair):
            predicted = (model.segment(filtered_image) != 0) & seen
            counts[number, arm] = predicted.sum(), foreground.sum(), (predicted & foreground).sum()
    return counts


def compare(overlaps: Sequence[npt.NDArray[np.int64]], seed: int) -> Comparison:
    """From the voxel counts of each gate label (repeats, 2 arms, 3: predicted, true, both).

    Dice pools over gate labels by sums. The interval is a percentile bootstrap over both sources of chance at once: which
    labels an arm had (the repeats, each arm's on its own: they were drawn independently) and which patches the gate has
    (drawn with replacement, the same for both arms). Nothing there and nothing predicted is a Dice of 1.
    """
    counts = np.stack(overlaps).astype(np.float64)  # (gate, repeats, arms, 3)
    n_gate, repeats = counts.shape[:2]
    whole = _dice(counts.sum(0))  # (repeats, arms)
    rng = np.random.default_rng([seed, 2])
    times = rng.multinomial(n_gate, np.full(n_gate, 1 / n_gate), size=RESAMPLES).astype(np.float64)
    picked = rng.integers(repeats, size=(RESAMPLES, 2))
    dice = [_dice(np.einsum("bg,gbc->bc", times, counts[:, picked[:, arm], arm])) for arm in (0, 1)]
    low, high = np.percentile(dice[0] - dice[1], [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    selected, control = whole.mean(0)
    return Comparison(float(selected), float(control), float(selected - control), float(low), float(high))


def _dice(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., 3: predicted, true, both) -> (...)."""
    total = counts[..., 0] + counts[..., 1]
    return np.where(total > 0, 2 * counts[..., 2] / np.maximum(total, 1), 1.0)
