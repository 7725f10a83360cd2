"""A first look at the quality of a volume while it is measured: saturation, blank and repeated slices, sharpness.

Nothing here refuses a volume; it warns while the sample may still be on the stage. Rows are sampled, so that the look costs
little beside reading.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.types import IntensityStats
from alcore.volumes.port import Array

ROW_STEP = 16
"""Every so many rows are looked at."""
BLURRED = 0.35
"""A slice with less than this share of its neighbours' sharpness is called unsharp."""
NEIGHBOURS = 15
"""Slices on each side that a slice is compared with."""
LEAST_SLICES = 8
"""In fewer slices nothing is said about single ones."""
SATURATED = 0.01
"""Share of voxels at the end of the range from which on it is worth a word: the percentiles clip 0.5 % anyway."""


@dataclass
class _Slice:
    checksum: int = 0
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    gradient: float = 0.0
    lowest: float = np.inf
    highest: float = -np.inf


@dataclass
class QualityStream:
    """Looks at blocks (C, z, y, x) of one volume as they come, in order; only the first channel is judged for sharpness."""

    n_slices: int
    _slices: dict[int, _Slice] = field(default_factory=dict)

    def add(self, block: Array, start: tuple[int, int, int]) -> None:
        """Take a block that begins at (z, y, x) = start into account; blocks have the full width."""
        first = -start[1] % ROW_STEP
        rows = block[0, :, first::ROW_STEP]
        for z, plane in enumerate(rows, start[0]):
            seen = self._slices.setdefault(z, _Slice())
            if not plane.size:
                continue
            seen.checksum = zlib.crc32(np.ascontiguousarray(plane).data, seen.checksum)
            values = plane.astype(np.float32)
            if plane.dtype.kind == "f":
                np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
            seen.n += values.size
            seen.total += float(values.sum(dtype=np.float64))
            seen.squares += float(np.square(values, dtype=np.float64).sum())
            if values.shape[-1] > 2:
                # Brenner et al. 1976: squared differences two pixels apart
                seen.gradient += float(np.square(values[:, 2:] - values[:, :-2], dtype=np.float64).sum())
            seen.lowest, seen.highest = min(seen.lowest, float(values.min())), max(seen.highest, float(values.max()))

    def result(
        self,
        stats: Sequence[IntensityStats],
        saturated: Sequence[float | None],
        equal: Callable[[int, int], bool],
    ) -> dict[str, Any]:
        """The record as plain JSON types, `warnings` for people last.

        saturated: share of voxels at the highest value of each channel, None where nobody knows. equal: are two slices
        identical (asked only where their samples are)?
        """
        order = [self._slices[z] for z in sorted(self._slices)]
        blank = [z for z, s in enumerate(order) if s.lowest == s.highest] if self.n_slices > 1 else []
        repeated = [
            z
            for z in range(1, len(order))
            if z not in set(blank) and order[z].checksum == order[z - 1].checksum and equal(z - 1, z)
        ]
        sharpness = [_sharpness(s) for s in order]
        unsharp = _unsharp(sharpness, set(blank))
        full = [s if s is not None and s >= SATURATED else 0.0 for s in saturated]
        usable = [s for s in sharpness if s > 0]
        return {
            "mean": [s.mean for s in stats],
            "percentile_00_5": [s.percentile_00_5 for s in stats],
            "percentile_99_5": [s.percentile_99_5 for s in stats],
            "sharpness": float(np.median(usable)) if usable else None,
            "saturated": [None if s is None else round(s, 5) for s in saturated],
            "blank": blank,
            "repeated": repeated,
            "unsharp": unsharp,
            "warnings": _warnings(self.n_slices, stats, full, blank, repeated, unsharp),
        }


def _sharpness(s: _Slice) -> float:
    """Squared differences per variance: independent of gain and offset; 0 for a flat slice."""
    if s.n == 0:
        return 0.0
    variance = s.squares / s.n - (s.total / s.n) ** 2
    return s.gradient / s.n / variance if variance > 1e-12 else 0.0


def _unsharp(sharpness: Sequence[float], blank: set[int]) -> list[int]:
    if len(sharpness) < LEAST_SLICES:
        return []
    found: npt.NDArray[np.float64] = np.asarray(sharpness)
    unsharp = []
    for z, value in enumerate(found):
        around = [
            found[i] for i in range(max(0, z - NEIGHBOURS), min(len(found), z + NEIGHBOURS + 1)) if i not in blank
        ]
        if z not in blank and len(around) >= LEAST_SLICES and value < BLURRED * float(np.median(around)):
            unsharp.append(z)
    return unsharp


def _warnings(
    n_slices: int,
    stats: Sequence[IntensityStats],
    saturated: Sequence[float],
    blank: Sequence[int],
    repeated: Sequence[int],
    unsharp: Sequence[int],
) -> list[str]:
    told = []
    for channel, share in enumerate(saturated):
        if share:
            where = f"channel {channel}: " if len(stats) > 1 else ""
            told.append(f"{where}{share:.1%} of the voxels are saturated (value {stats[channel].maximum:g})")
    if blank:
        told.append(f"{_slices(blank)} of {n_slices} {_is(blank)} blank")
    if repeated:
        told.append(
            f"{_slices(repeated)} of {n_slices} {'repeats' if len(repeated) == 1 else 'repeat'} the slice before"
        )
    if unsharp:
        told.append(f"{_slices(unsharp)} of {n_slices} {_is(unsharp)} much less sharp than the slices around")
    return told


def _is(numbers: Sequence[int]) -> str:
    return "is" if len(numbers) == 1 else "are"


def _slices(numbers: Sequence[int]) -> str:
    """Slice numbers, from 0, in words: "slices 3, 7 to 9"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs[:5]]
    more = f" and {len(runs) - 5} more runs" if len(runs) > 5 else ""
    return ("slice " if len(numbers) == 1 else "slices ") + ", ".join(words) + more
