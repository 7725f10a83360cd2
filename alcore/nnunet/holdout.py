"""Which training labels no step sees, so that they can say when training is to end. The gate is another matter."""

from __future__ import annotations

from collections.abc import Sequence

from alcore.nnunet.case import Case

LEAST = 2
"""Fewer patches say nothing about when to stop."""


def split(labels: Sequence[Case], share: float) -> tuple[list[Case], list[Case]]:
    """(cases to train on, cases held out): `share` of them, rounded down; none when these would be fewer than two.

    Which ones is said by their content: a label that is held out stays so while others join.
    """
    n = int(share * len(labels) + 1e-9)
    if n < LEAST or n >= len(labels):
        return list(labels), []
    held = {case.id for case in sorted(labels, key=lambda case: case.id)[:n]}
    return [c for c in labels if c.id not in held], [c for c in labels if c.id in held]
