"""What scores of several test regions and seeds say together: areas under curves, means, differences and shares, with intervals.

Runs on one test region are alike: taking them for independent would promise too much. With three regions or more an interval
is therefore Student's t over the means of the regions, and speaks of other regions of such data; never narrower than that of the
seeds within them, since a few regions may agree by luck. With one or two regions it is that of the seeds, and speaks of these
regions alone. (A bootstrap of regions and seeds is too narrow here; see docs/decisions/0021.)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scope = Literal["regions", "seeds", "none"]
Key = TypeVar("Key", bound=Hashable)

CONFIDENCE = 0.95
LEAST_REGIONS = 3
"""With two, Student's t has one degree of freedom and an interval twelve times as wide as its standard error."""


@dataclass(frozen=True)
class Estimate:
    """A figure over runs. mean: over regions, of the means over seeds. low, high: the ends of its 95 % interval, None where it
    has none (one seed). n_runs, n_regions: behind it. scope: what the interval speaks of (other regions of such data, other
    seeds on these regions, nothing)."""

    mean: float
    low: float | None
    high: float | None
    n_runs: int
    n_regions: int
    scope: Scope

    @property
    def half(self) -> float | None:
        """Half the width of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def sign(self) -> int:
        """1 above zero with confidence, -1 below it, 0 where the interval holds zero or there is none."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def area(shares: Sequence[float], scores: Floats) -> Floats:
    """Area under score against log2(share of labels), over its range: a mean score, the same for counts as for shares.

    shares: ascending, positive, at least two. scores (..., shares) -> (...). Raises ValueError otherwise.
    """
    x = np.asarray(shares, np.float64)
    if len(x) < 2 or (x <= 0).any() or (np.diff(x) <= 0).any():
        raise ValueError(f"an area needs two or more ascending numbers of labels above 0, got {list(shares)}")
    steps = np.diff(np.log2(x))
    found: Floats = ((scores[..., 1:] + scores[..., :-1]) / 2 * steps).sum(-1) / steps.sum()
    return found


def estimate(values: Mapping[Key, Sequence[float] | Floats], least_regions: float = LEAST_REGIONS) -> Estimate | None:
    """Mean and interval of a figure given by region: {region: (seeds,)}; NaN is left out, None where nothing is left.

    There is no interval where no region has two seeds. With fewer than `least_regions` regions (infinity: always) it is that of
    the seeds, whose variance is pooled over the regions.
    """
    groups = [np.asarray(v, np.float64) for v in values.values()]
    groups = [g[np.isfinite(g)] for g in groups]
    groups = [g for g in groups if len(g)]
    if not groups:
        return None
    means = np.array([g.mean() for g in groups])
    mean, n_runs, n = float(means.mean()), sum(map(len, groups)), len(groups)
    free = n_runs - n
    if free == 0:
        return Estimate(mean, None, None, n_runs, n, "none")
    variance = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / free
    half = _t(free) * np.sqrt(variance * sum(1 / len(g) for g in groups)) / n
    if n >= least_regions:
        half = max(half, _t(n - 1) * means.std(ddof=1) / np.sqrt(n))
    return Estimate(
        mean, float(mean - half), float(mean + half), n_runs, n, "regions" if n >= least_regions else "seeds"
    )


def difference(one: Mapping[Key, Floats], other: Mapping[Key, Floats]) -> dict[Key, Floats]:
    """Of what is given by region for the same seeds in the same order; NaN where either is."""
    return {region: one[region] - other[region] for region in one}


def ratio(
    values: Mapping[Key, Sequence[float] | Floats], reference: Mapping[Key, Sequence[float] | Floats]
) -> Estimate | None:
    """Mean of `values` as a share of the mean of `reference`, both by region and with the same seeds in the same order.

    A ratio of means, not a mean of ratios: one region where the reference is near zero would rule the latter. The interval is
    that of values - ratio * reference (linearised; Cochran 1977, Sec. 2.11). None where the reference is zero or nothing is left.
    """
    pairs = {}
    for region in values:
        both = np.array([values[region], reference.get(region, np.full(len(values[region]), np.nan))], np.float64)
        pairs[region] = both[:, np.isfinite(both).all(0)]
    over, under = (estimate({k: v[i] for k, v in pairs.items()}) for i in (0, 1))
    if over is None or under is None or under.mean == 0:
        return None
    share = over.mean / under.mean
    left = estimate({k: (v[0] - share * v[1]) / under.mean for k, v in pairs.items()})
    assert left is not None
    half = left.half
    low, high = (None, None) if half is None else (share - half, share + half)
    return Estimate(share, low, high, left.n_runs, left.n_regions, left.scope)


def _t(free: int) -> float:
    """Quantile of Student's t with so many degrees of freedom, for both ends of the interval."""
    from scipy.special import stdtrit

    return float(stdtrit(free, (1 + CONFIDENCE) / 2))
