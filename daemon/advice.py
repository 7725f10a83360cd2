"""When to stop: what more labels are expected to bring, from the rounds so far, with an interval. Pure, and no numpy."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

LEAST_ROUNDS = 3
"""Rounds on different numbers of labels below which nothing is said: two points fit any curve."""
LEAST_HELD_OUT = 2
"""Held-out labels below which the error of a score cannot be told."""
MOST_ROUNDS = 20
"""The newest so many are looked at."""
DRAWS = 200
WEIGHT = 0.95
"""Of the posterior, that the interval holds. It is called a 90 % interval: the true gain was in it in 88 to 96 % of simulated
rounds, on the worst single curve in 70 %. What the grid leaves out makes a posterior too sure."""
LITTLE = 0.01
"""A gain of F1 that is hardly worth the work."""
EXPONENTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Of power laws: learning curves of segmentation networks lie between."""
TRAINING_NOISE = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
"""Standard deviations of F1 from one training to the next on the same labels; equally likely beforehand."""
STEPS = 60
"""Values that are tried of what is still to be gained, evenly spread from nothing to a perfect score."""


@dataclass(frozen=True)
class LearningCurve:
    """One round: labels trained on, labels held out, and of each of those the counts of its candidate's matches (n_true,
    n_predicted, n_matched; see `alcore.arrays.matching.Counts`)."""

    n_labels: int
    n_gate: int
    counts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Advice:
    """figures: expected gain of F1, and the ends of its 90 % interval; None where nothing can be said, and words say why."""

    words: str
    figures: tuple[float, float, float] | None


def advise(rounds: Sequence[LearningCurve], patches: int) -> Advice:
    """What `patches` more annotated patches will bring, from all rounds so far, oldest first.

    A saturating power law F1(n) = F1(now) - G ((n / now)^-c - 1) is fitted, where G >= 0 is what infinitely many labels would
    add. Every G, c and noise of training on a grid counts by how well it explains the scores (F1(now) has a flat prior and is
    integrated out), so that the interval holds what is not known of the curve itself. The error of a score comes from a
    bootstrap over held-out labels that all rounds share, so that what makes all rounds look better or worse together
    cancels. Of the new patches, as many go to training as did so far.
    """
    usable = [r for r in rounds if len(r.counts) >= LEAST_HELD_OUT and r.n_labels > 0][-MOST_ROUNDS:]
    if len({r.n_labels for r in usable}) < LEAST_ROUNDS:
        n = len({r.n_labels for r in usable})
        return Advice(f"too few rounds to say what more labels would bring ({n} scored, {LEAST_ROUNDS} needed)", None)
    newest = usable[-1]
    more = patches * newest.n_labels / (newest.n_labels + newest.n_gate)
    gain, low, high = expected_gain(
        [r.n_labels for r in usable], [f1(r.counts) for r in usable], score_errors(usable), more
    )
    words = f"{patches} more patches: {gain:+.2f} F1 ({low:.2f} to {high:.2f})"
    return Advice(words + (", hardly worth the work" if high < LITTLE else ""), (gain, low, high))


def f1(counts: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float] | None = None) -> float:
    """F1 of counts summed over labels, each with its weight; 0 where there is nothing at all."""
    matched = total = 0.0
    for label, c in counts.items():
        weight = 1.0 if weights is None else weights[label]
        matched += 2 * weight * c["n_matched"]
        total += weight * (c["n_true"] + c["n_predicted"])
    return matched / total if total else 0.0


def score_errors(rounds: Sequence[LearningCurve]) -> list[float]:
    """Standard deviation of each round's F1 against the mean of all rounds, over draws of the held-out labels (Bayesian
    bootstrap, Rubin 1981: a label that several rounds share has the same weight in all)."""
    labels = sorted({label for r in rounds for label in r.counts})
    rng = random.Random(0)  # the same rounds always give the same advice
    draws = []
    for _ in range(DRAWS):
        weights = {label: rng.expovariate(1.0) for label in labels}
        scores = [f1(r.counts, weights) for r in rounds]
        mean = math.fsum(scores) / len(scores)
        draws.append([s - mean for s in scores])
    means = [math.fsum(column) / DRAWS for column in zip(*draws, strict=True)]
    spreads = [
        math.sqrt(math.fsum((v - m) ** 2 for v in column) / (DRAWS - 1))
        for column, m in zip(zip(*draws, strict=True), means, strict=True)
    ]
    # of few labels such draws make too little: their variance is that of n - 1 labels divided by n + 1
    return [s * math.sqrt((len(r.counts) + 1) / (len(r.counts) - 1)) for s, r in zip(spreads, rounds, strict=True)]


def expected_gain(
    n_labels: Sequence[int], scores: Sequence[float], errors: Sequence[float], more: float
) -> tuple[float, float, float]:
    """(mean, low, high) of what `more` labels will add to the newest round's score; see `advise`."""
    now = n_labels[-1]
    most = 1 - min(1.0, max(0.0, math.fsum(scores[-2:]) / len(scores[-2:])))
    found: list[tuple[float, float]] = []  # (log-likelihood, gain)
    for noise, exponent in product(TRAINING_NOISE, EXPONENTS):
        precision = [1 / (e * e + noise * noise) for e in errors]
        total = math.fsum(precision)
        below = [(n / now) ** -exponent - 1 for n in n_labels]
        share = 1 - ((now + more) / now) ** -exponent
        constant = 0.5 * math.fsum(math.log(p) for p in precision) - 0.5 * math.log(total)
        for step in range(STEPS + 1):
            left = most * step / STEPS
            lifted = [s + left * b for s, b in zip(scores, below, strict=True)]
            level = math.fsum(p * v for p, v in zip(precision, lifted, strict=True)) / total
            misfit = math.fsum(p * (v - level) ** 2 for p, v in zip(precision, lifted, strict=True))
            found.append((constant - 0.5 * misfit, left * share))
    best = max(found)[0]
    weighed = sorted((gain, math.exp(log - best)) for log, gain in found)
    total = math.fsum(weight for _, weight in weighed)
    mean = math.fsum(gain * weight for gain, weight in weighed) / total
    low, high = _shortest(weighed, WEIGHT * total)
    return mean, min(low, mean), max(high, mean)


def _shortest(weighed: Sequence[tuple[float, float]], wanted: float) -> tuple[float, float]:
    """The shortest interval that holds so much of the weight: one that begins at 0 where nothing to gain is likeliest."""
    best = (weighed[0][0], weighed[-1][0])
    inside, end = 0.0, 0
    for value, weight in weighed:
        while inside < wanted and end < len(weighed):
            inside += weighed[end][1]
            end += 1
        if inside < wanted:
            break
        if weighed[end - 1][0] - value < best[1] - best[0]:
            best = (value, weighed[end - 1][0])
        inside -= weight
    return best
