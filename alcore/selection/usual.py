"""What is usual in a volume: medians and spreads of the figures of all its patches, against which each of them is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from alcore.selection.port import Float32, Pool, Positions

Float64 = npt.NDArray[np.float64]

LEAST = 16
"""Fewer patches than this are not compared with each other."""
MAD = 1.4826
"""Times the median absolute deviation: the standard deviation, where values are normal."""
ASKED = ("sharpness", "contrast", "clipped", "foreground")
"""Figures that are needed."""


@dataclass(frozen=True)
class Usual:
    """(V,) float64 for each of V volumes, NaN where nobody knows.

    size: patches. sharpness, contrast: medians of those above 0, where `LEAST` are known; log_sharpness, log_contrast and their
    spreads: median and robust standard deviation of the logarithms of the same. strength, clipped, foreground: medians of the
    contrast, the share of clipped voxels and the foreground of all patches where it is known.
    """

    size: Float64
    sharpness: Float64
    log_sharpness: Float64
    sharpness_spread: Float64
    contrast: Float64
    log_contrast: Float64
    contrast_spread: Float64
    strength: Float64
    clipped: Float64
    foreground: Float64

    def of(self, volumes: Positions) -> Usual:
        """For each of these volumes (of patches: the volume of each)."""
        return Usual(*(getattr(self, f.name)[volumes] for f in fields(self)))


def joined(parts: list[Usual]) -> Usual:
    """Of the volumes of one and then of the next."""
    return Usual(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Usual)))


def usual(volume: Positions, n_volumes: int, figures: Mapping[str, Float32]) -> Usual:
    """What is usual in the volumes 0 to n_volumes - 1. volume: (N,) that of each patch. figures: (N,) by the names of `ASKED`, where
    NaN and infinite mean unknown; one that is not given is unknown everywhere."""
    nobody = np.full(len(volume), np.nan, np.float32)
    sharpness, contrast, clipped, foreground = (figures.get(name, nobody) for name in ASKED)
    return Usual(
        np.bincount(volume, minlength=n_volumes).astype(np.float64),
        *_positive(volume, n_volumes, sharpness),
        *_positive(volume, n_volumes, contrast),
        medians(volume, n_volumes, contrast)[0],
        medians(volume, n_volumes, clipped)[0],
        medians(volume, n_volumes, foreground)[0],
    )


def _positive(volume: Positions, n_volumes: int, values: Float32) -> tuple[Float64, Float64, Float64]:
    """Median of the values above 0, and median and spread of their logarithms, where `LEAST` are known."""
    known = np.flatnonzero(np.isfinite(values) & (values > 0))
    of, log = volume[known], np.log(values[known].astype(np.float64))
    middle, n = medians(of, n_volumes, values[known])
    log_middle, _ = medians(of, n_volumes, log)
    deviation, _ = medians(of, n_volumes, np.abs(log - log_middle[of]))
    enough = n >= LEAST
    found = (np.where(enough, figure, np.nan) for figure in (middle, log_middle, MAD * deviation))
    return next(found), next(found), next(found)


def medians(volume: Positions, n_volumes: int, values: npt.NDArray[np.floating]) -> tuple[Float64, Positions]:
    """(V,) median of the finite values of each volume, NaN where there are none, and how many there are."""
    known = np.isfinite(values)
    volume, values = volume[known], values[known].astype(np.float64)
    count = np.bincount(volume, minlength=n_volumes)
    ranked = np.sort(volume + 1j * values).imag  # by volume, then by value: twice as fast as by two keys
    ends = np.cumsum(count)
    begins = ends - count
    found = np.full(n_volumes, np.nan)
    some = np.flatnonzero(count)
    lower, upper = begins[some] + (count[some] - 1) // 2, begins[some] + count[some] // 2
    found[some] = (ranked[lower] + ranked[upper]) / 2
    return found, count


def of_pool(pool: Pool) -> tuple[Usual, Positions]:
    """What is usual in the volumes of a pool, and (N,) the number of that of each patch."""
    if pool.usual is not None:
        return pool.usual, pool.volume
    volumes, of = np.unique(pool.volume, return_inverse=True)
    return usual(of, len(volumes), {name: pool.trait(name) for name in ASKED}), of
