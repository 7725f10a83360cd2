"""Paired intervals for scores of strategies that saw the same splits and seeds, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 10_000


def area(budgets: Sequence[int], scores: Floats) -> Floats:
    """Area under score against log2(budget), over its range: a mean score. scores (..., budgets) -> (...)."""
    x = np.log2(np.asarray(budgets, float))
    steps = np.diff(x)
    found: Floats = ((scores[..., 1:] + scores[..., :-1]) / 2 * steps).sum(-1) / steps.sum()
    return found


def interval(values: Mapping[int, Floats], seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval of a figure given by split: {split: (seeds,)}.

    Splits are drawn with replacement first, then seeds within each: runs on one test region are alike, and treating them as
    independent would promise too much. The mean is over splits of the means over seeds.
    """
    rng = np.random.default_rng(seed)
    groups = [np.asarray(v, np.float64) for _, v in sorted(values.items())]
    mean = float(np.mean([g.mean() for g in groups]))
    within = np.stack([g[rng.integers(len(g), size=(resamples, len(groups), len(g)))].mean(-1) for g in groups])
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    rows, places = np.arange(resamples)[:, None], np.arange(len(groups))[None, :]
    means = within[drawn, rows, places].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def signed(figure: tuple[float, float, float]) -> str:
    """A difference with its interval, for a table; bold where the interval leaves zero out."""
    mean, low, high = figure
    text = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def plain(figure: tuple[float, float, float]) -> str:
    """A figure with its interval, for a table."""
    mean, low, high = figure
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
