"""What a patch holds, from what is known of it: how much there is to learn from, and what it costs to annotate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alcore.selection.port import Pool, Positions, Request, spread_evenly

Float64 = npt.NDArray[np.float64]


def matter(pool: Pool, positions: Positions) -> Float64:
    """Share of foreground plus share of object borders of these patches, each at least 0; NaN where nobody knows.

    Patches like one that a person found nothing in count less (`Pool.worth`). Borders count once more because a boundary
    teaches an instance segmentation more than the inside of a large object.
    """
    foreground = pool.trait("foreground", positions).astype(np.float64)
    border = pool.trait("border", positions).astype(np.float64)
    both = np.where(np.isfinite(foreground), np.maximum(foreground, 0) + np.maximum(np.nan_to_num(border), 0), np.nan)
    return both if pool.worth is None else both * pool.worth[positions]


def interest(pool: Pool, positions: Positions) -> Float64:
    """Rank of `matter` among these patches, in 0..1; the middle where nobody knows: 0.5 for all without pseudo-labels."""
    return spread_evenly(matter(pool, positions))


def uncertainty(pool: Pool, positions: Positions) -> Float64:
    """Mean of the entropies over voxels predicted foreground and over those predicted background, in 0..1; NaN if unknown.

    Both count alike, so that rare structures are not drowned by background (class stratification, Lüth et al. 2025).
    """
    both = np.stack([pool.trait("entropy_fg", positions), pool.trait("entropy_bg", positions)]).astype(np.float64)
    known = np.isfinite(both)
    total = np.where(known, both, 0.0).sum(axis=0)
    n = known.sum(axis=0)
    return np.divide(total, n, out=np.full(len(positions), np.nan), where=n > 0)


def minutes(pool: Pool, positions: Positions, request: Request) -> Float64:
    """Expected minutes of an expert: the base plus so much per object; the median number of objects where it is unknown."""
    n_objects = pool.trait("n_objects", positions).astype(np.float64)
    known = n_objects[np.isfinite(n_objects)]
    usual = float(np.median(known)) if len(known) else 0.0
    found: Float64 = request.minutes_base + request.minutes_per_object * np.maximum(
        np.where(np.isfinite(n_objects), n_objects, usual), 0
    )
    return found


def known_figures(pool: Pool, position: int) -> dict[str, float]:
    """The traits of one patch that are known, by name."""
    return {name: float(values[position]) for name, values in pool.traits.items() if np.isfinite(values[position])}
