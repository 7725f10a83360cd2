"""How good a segmentation probably is where nobody labelled anything: from a model's confidence to its Dice. Pure, no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_PATCHES = 6
"""Held-out patches with objects below which confidence only ranks."""
COVERED = 0.9
"""Of the interval, and (one-sided 0.95) the certainty with which Dice must rise with confidence before it is predicted."""
NORMAL = 1.6448536269514722
"""Of the standard normal distribution, 0.95 lie below."""


@dataclass(frozen=True)
class Expected:
    """Dice that a segmentation is expected to have, with the ends of its interval. beyond: no held-out patch was as sure or as
    unsure as this, so the line is drawn out further than it was seen."""

    dice: float
    low: float
    high: float
    beyond: bool


@dataclass(frozen=True)
class Calibration:
    """A straight line through (confidence, Dice) of held-out patches. spread: of the points around it."""

    slope: float
    intercept: float
    n: int
    middle: float
    scatter: float
    spread: float
    least: float
    most: float

    def expected(self, confidence: float) -> Expected:
        """Of one patch as sure as that, with a prediction interval (Student's t); a volume, which is many patches, lies
        rather closer to the line."""
        at = self.intercept + self.slope * confidence
        error = self.spread * math.sqrt(1 + 1 / self.n + (confidence - self.middle) ** 2 / self.scatter)
        half = student(self.n - 2) * error
        beyond = not self.least <= confidence <= self.most
        return Expected(_share(at), _share(at - half), _share(at + half), beyond)


def calibrate(points: Sequence[tuple[float, float]]) -> tuple[Calibration | None, str]:
    """A calibration from (confidence, Dice) of held-out patches with objects, and "" or why there is none.

    There is one where Dice rises with confidence beyond doubt: confidence that says nothing of Dice predicts nothing.
    """
    n = len(points)
    if n < LEAST_PATCHES:
        return None, f"{n} held-out patches, {LEAST_PATCHES} needed to tell what it is worth"
    middle, level = (math.fsum(values) / n for values in zip(*points, strict=True))
    scatter = math.fsum((c - middle) ** 2 for c, _ in points)
    if scatter <= 1e-12:
        return None, "the model is equally sure of all held-out patches"
    slope = math.fsum((c - middle) * (d - level) for c, d in points) / scatter
    intercept = level - slope * middle
    spread = math.sqrt(math.fsum((d - intercept - slope * c) ** 2 for c, d in points) / (n - 2))
    if slope <= student(n - 2) * spread / math.sqrt(scatter):
        return None, f"on {n} held-out patches it does not tell good from bad"
    confidences = [c for c, _ in points]
    return Calibration(slope, intercept, n, middle, scatter, spread, min(confidences), max(confidences)), ""


def student(freedom: int) -> float:
    """Student's t below which 0.95 lie (Abramowitz & Stegun 26.7.5): within 1 % from 4 degrees of freedom on."""
    z, v = NORMAL, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / v**k for k, term in enumerate(terms, 1))


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
