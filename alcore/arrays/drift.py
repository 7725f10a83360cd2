"""Has the instrument drifted? A new volume's intensities and sharpness against those before it. Plain Python: light for the daemon."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

LEAST_BEFORE = 5
"""Earlier volumes from which on one can speak of a usual value."""
FAR = 5.0
"""Robust standard deviations from the median that are worth a word (Leys et al. 2013 call 3 very conservative; with many
volumes a day, 5 keeps false alarms rare)."""
FLOOR = 0.05
"""Spread, as a share of the intensity range, below which a difference is no drift however steady the instrument was."""


def drift(now: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is unlike the earlier volumes (quality records of the same kind of data, see `alcore.volumes.quality`), in words."""
    if len(before) < LEAST_BEFORE:
        return []
    told = []
    for channel in range(len(now["mean"])):
        where = f"channel {channel}: " if len(now["mean"]) > 1 else ""
        spans = [b["percentile_99_5"][channel] - b["percentile_00_5"][channel] for b in before]
        span = max(statistics.median(spans), 1e-12)
        for key, word in (("mean", "mean intensity"), ("percentile_99_5", "bright end of the intensities")):
            usual = [b[key][channel] for b in before]
            if _far(now[key][channel], usual, FLOOR * span):
                told.append(
                    f"{where}{word} {now[key][channel]:.4g}, usually about {statistics.median(usual):.4g}: has it drifted?"
                )
                break
    sharp = [b["sharpness"] for b in before if b.get("sharpness")]
    if now.get("sharpness") and len(sharp) >= LEAST_BEFORE:
        middle = statistics.median(sharp)
        if now["sharpness"] < middle and _far(now["sharpness"], sharp, 2 * FLOOR * middle):
            told.append(f"sharpness {now['sharpness']:.3g}, usually about {middle:.3g}: is it out of focus?")
    return told


def _far(value: float, usual: Sequence[float], floor: float) -> bool:
    middle = statistics.median(usual)
    spread = 1.4826 * statistics.median(abs(u - middle) for u in usual)
    return abs(value - middle) > FAR * max(spread, floor)
