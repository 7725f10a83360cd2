"""Who chooses: every strategy of the selection room, as the daemon calls it, and the oracle that knows where objects are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from alcore import selection
from alcore.simulation.pool import LabelledPool, Rows

ORACLE = "oracle"
"""Foreground-aware random by the truth: two thirds of the draws by true foreground (nnActive, Lüth et al. 2025)."""
STRATEGIES = ("random", ORACLE, *(name for name in selection.STRATEGIES if name != "random"))
"""By name; `foreground` is the oracle's rule with pseudo-labels in place of the truth."""
BLIND = ("random", ORACLE, "foreground", "coreset", "typiclust", "herding")
"""Those that no model's uncertainty changes: none has to look at the pool for them."""

Traits = Mapping[str, npt.NDArray[np.float32]]


def looks(strategy: str) -> bool:
    """Does what the model of the last step says of the pool matter to the strategy?"""
    return strategy not in BLIND


def choose(
    pool: LabelledPool, rows: Rows, strategy: str, chosen: Rows, n: int, seen: Traits | None, seed: int
) -> tuple[Rows, int]:
    """(`n` further positions in `rows`, how many of them the strategy did not choose itself).

    chosen: positions labelled before. seen: traits of the patches of `rows` by the model that learned from them, None where there
    is none. What a strategy does not find eligible is filled up at random: all have the same number of labels at every step.
    """
    known = pool.true_traits if strategy == ORACLE else pool.seen_traits
    start, shape = pool.places(rows)
    candidates = selection.Pool(
        pool.embeddings[rows],
        np.zeros(len(rows), np.int64),
        start,
        shape,
        {name: values[rows] for name, values in known.items()} | dict(seen or {}),
    )
    expert = pool.settings.expert
    request = selection.Request(
        n=n,
        covered=chosen,
        labelled=chosen,
        seed=seed,
        n_before=len(chosen),
        minutes_base=expert.minutes_base,
        minutes_per_object=expert.minutes_per_object,
        n_gated=len(chosen) if seen is not None else 0,
    )
    found = selection.choose(candidates, request, "foreground" if strategy == ORACLE else strategy)
    picks = np.array([int(c.position) for c in found.choices], np.int64)
    rest = np.setdiff1d(np.arange(len(rows)), np.concatenate([chosen, picks]))
    filled = np.random.default_rng([seed, 1]).permutation(rest)[: n - len(picks)]
    return np.concatenate([picks, filled]).astype(np.int64), len(filled)


def coverage(embeddings: npt.NDArray[np.float32], chosen: Rows) -> tuple[float, float]:
    """(largest, mean) cosine distance of the pool (N, D) to its nearest chosen position, rounded: a BLAS rounds by where its
    arrays lie."""
    vectors = embeddings.astype(np.float64)
    distance = np.maximum(0.0, 1 - (vectors @ vectors[chosen].T).max(1))
    return round(float(distance.max()), 9), round(float(distance.mean()), 9)
