"""Weights between a model and what was made of it: a few labels teach a network something, and make it forget more.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), equation 1: a network fine-tuned from another one stays
in the same valley of the loss, so that weights in the middle are those of a network too. It does better on data that is
unlike the labels than either end. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

WORTH = 8
"""A model to start from weighs like so many labels."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the way, tried where held-out labels can tell."""

Weights = Mapping[str, torch.Tensor]


def share_of(n_labels: int) -> float:
    """How far to go from the old to the new weights with so many labels, where none is held out: the more the farther."""
    return n_labels / (n_labels + WORTH)


def between(old: Weights, new: Weights, share: float) -> dict[str, torch.Tensor]:
    """(1 - share) old + share new, name by name, on the device of `new`; what is no floating-point number is the new one's."""
    found = {}
    for name, weight in new.items():
        start = old[name].to(weight.device)
        found[name] = torch.lerp(start, weight, share) if weight.is_floating_point() else weight
    return found


def best_share(old: Weights, new: Weights, score: Callable[[dict[str, Any]], float]) -> tuple[float, float]:
    """(share, score) of the `SHARES` whose weights score best; of equals the one that goes farthest."""
    scored = [(score(between(old, new, share)), share) for share in SHARES]
    best, share = max(scored)
    return share, best
