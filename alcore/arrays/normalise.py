"""Intensity statistics of a volume in one streaming pass, and the fixed normalisation that they define."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alcore.types import IntensityStats

SAMPLE_SIZE = 1 << 20
"""Voxels kept for the percentiles of data that is too fine for a histogram."""
CHUNK = 1 << 20
"""Voxels converted at a time, so that statistics need no float64 copy of a block."""
EPS = 1e-8
"""Smallest divisor, for a constant channel."""


def fixed(image: npt.NDArray[np.generic], stats: Sequence[IntensityStats]) -> npt.NDArray[np.float32]:
    """Normalise (C, Z, Y, X) of any real dtype to float32 with the constants of the whole volume.

    Per channel: clip to [percentile_00_5, percentile_99_5], subtract the mean, divide by the standard deviation
    (nnU-Net's "CT" scheme). The constants are the volume's own: a voxel gets one value, in a patch or not.
    Raises ValueError when `stats` does not hold one entry per channel.
    """
    if image.ndim != 4 or image.shape[0] != len(stats):
        raise ValueError(f"image of shape {image.shape} is not (C, Z, Y, X) with {len(stats)} channel statistics")
    out = np.empty(image.shape, np.float32)
    for channel, source, s in zip(out, image, stats, strict=True):
        if source.dtype == np.float64 or (source.dtype.kind in "iu" and source.dtype.itemsize > 2):
            # clip before the cast: float32 keeps only 24 bits, and a large offset would eat the contrast
            centred = np.clip(source, s.percentile_00_5, s.percentile_99_5).astype(np.float64) - s.mean
            channel[...] = centred / max(s.std, EPS)
        else:
            np.clip(source, s.percentile_00_5, s.percentile_99_5, out=channel, casting="unsafe", dtype=np.float32)
            channel -= np.float32(s.mean)
            channel /= np.float32(max(s.std, EPS))
    return out


class StatsStream:
    """IntensityStats of one channel from blocks given in any order and number.

    Integers of up to 16 bits go through a full histogram: every figure is exact. For wider integers and floats, mean,
    standard deviation, minimum and maximum are exact to float64 rounding, and the percentiles come from a uniform
    random sample of `SAMPLE_SIZE` voxels: exact up to that many voxels, beyond it off by 0.00007 of rank (one standard
    deviation), so that the 0.5 % percentile lies between the true 0.48 % and 0.52 %. NaN and infinities are left out of
    the statistics and counted in `n_nan` and `n_infinite`.
    """

    def __init__(self, dtype: npt.DTypeLike, rng: np.random.Generator) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "biuf":
            raise ValueError(f"intensities must be real numbers, got dtype {self.dtype}")
        self.n = 0
        """Finite voxels seen."""
        self.n_nan = 0
        self.n_infinite = 0
        self._rng = rng
        self._lowest = int(np.iinfo(self.dtype).min) if self.dtype.kind in "iu" else 0
        self._histogram: npt.NDArray[np.int64] | None = None
        if self.dtype.kind == "b" or (self.dtype.kind in "iu" and self.dtype.itemsize <= 2):
            self._histogram = np.zeros(2 if self.dtype.kind == "b" else 1 << (8 * self.dtype.itemsize), np.int64)
        self._mean, self._m2 = 0.0, 0.0
        self._minimum, self._maximum = np.inf, -np.inf
        self._sample = np.empty(0, np.float64)
        self._priority = np.empty(0, np.float64)
        self._cutoff = 1.0

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Take a block of any shape into account."""
        if values.dtype != self.dtype:
            raise ValueError(f"block has dtype {values.dtype}, expected {self.dtype}")
        flat = values.reshape(-1)
        if self._histogram is not None:
            self._histogram += _counts(np.ascontiguousarray(flat))
            self.n += flat.size
            return
        for start in range(0, flat.size, CHUNK):
            self._add_wide(flat[start : start + CHUNK].astype(np.float64))

    def _add_wide(self, x: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(x)
        if not finite.all():
            n_nan = int(np.isnan(x).sum())
            self.n_nan += n_nan
            self.n_infinite += int(x.size - finite.sum()) - n_nan
            x = x[finite]
        if not x.size:
            return
        # Chan et al. 1979: merge mean and centred second moment of two parts
        mean, m2 = float(x.mean()), float(x.var()) * x.size
        delta, total = mean - self._mean, self.n + x.size
        self._m2 += m2 + delta * delta * self.n * x.size / total
        self._mean += delta * x.size / total
        self.n = total
        self._minimum, self._maximum = min(self._minimum, float(x.min())), max(self._maximum, float(x.max()))
        # bottom-k sampling: the voxels with the k smallest random priorities are a uniform sample of all seen so far
        priority = self._rng.random(x.size)
        kept = priority < self._cutoff
        self._sample = np.concatenate([self._sample, x[kept]])
        self._priority = np.concatenate([self._priority, priority[kept]])
        if self._sample.size > 2 * SAMPLE_SIZE:
            self._shrink()

    def _shrink(self) -> None:
        if self._sample.size > SAMPLE_SIZE:
            order = np.argpartition(self._priority, SAMPLE_SIZE - 1)[:SAMPLE_SIZE]
            self._sample, self._priority = self._sample[order], self._priority[order]
            self._cutoff = float(self._priority.max())

    def share_of(self, value: float) -> float | None:
        """Share of the voxels with exactly this value; None where no full histogram is kept."""
        if self._histogram is None or self.n == 0:
            return None
        return int(self._histogram[int(value) - self._lowest]) / self.n

    def result(self) -> IntensityStats:
        """Statistics of everything added. Percentiles interpolate linearly between voxels, like `numpy.percentile`.

        Raises ValueError when no finite voxel was seen.
        """
        if self.n == 0:
            raise ValueError("no finite voxel was seen: there are no intensity statistics")
        if self._histogram is None:
            self._shrink()
            low, high = np.percentile(self._sample, [0.5, 99.5])
            std = float(np.sqrt(self._m2 / self.n))
            return IntensityStats(self._mean, std, self._minimum, self._maximum, float(low), float(high))
        used = np.flatnonzero(self._histogram)
        values, counts = [int(v) + self._lowest for v in used], [int(c) for c in self._histogram[used]]
        total = sum(v * c for v, c in zip(values, counts, strict=True))
        squares = sum(v * v * c for v, c in zip(values, counts, strict=True))
        variance = (squares * self.n - total * total) / (self.n * self.n)
        return IntensityStats(
            mean=total / self.n,
            std=float(np.sqrt(variance)),
            minimum=float(values[0]),
            maximum=float(values[-1]),
            percentile_00_5=_percentile(values, counts, 0.005),
            percentile_99_5=_percentile(values, counts, 0.995),
        )


def _counts(flat: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """How often every value of a dtype of at most 16 bits occurs, from the lowest value up.

    Counting is as slow for bytes as for words, so bytes are counted in pairs: value a beside value b.
    """
    signed = flat.dtype.kind == "i"
    if flat.dtype.itemsize == 2:
        words = _words(flat.view(np.uint16))
        return np.roll(words, 1 << 15) if signed else words
    even = flat.size // 2 * 2
    pairs = _words(flat[:even].view(np.uint16)).reshape(256, 256)
    counts = np.asarray(pairs.sum(axis=0) + pairs.sum(axis=1), np.int64)
    if even < flat.size:
        counts[int(flat[even:].view(np.uint8)[0])] += 1
    if flat.dtype.kind == "b":
        return counts[:2]
    return np.roll(counts, 128) if signed else counts


def _words(flat: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Histogram of 16-bit words; numpy converts what it counts to 64 bits, so a part at a time."""
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, flat.size, CHUNK):
        counts += np.bincount(flat[start : start + CHUNK], minlength=1 << 16)
    return counts


def _percentile(values: list[int], counts: list[int], fraction: float) -> float:
    """Linear-interpolation percentile of a histogram with ascending values."""
    ends = np.cumsum(counts)
    position = fraction * (int(ends[-1]) - 1)
    below = int(position)
    lower = values[int(np.searchsorted(ends, below, side="right"))]
    upper = values[int(np.searchsorted(ends, min(below + 1, int(ends[-1]) - 1), side="right"))]
    return lower + (upper - lower) * (position - below)


def measure(image: npt.NDArray[np.generic], rng: np.random.Generator) -> tuple[IntensityStats, ...]:
    """Statistics of each channel of a (C, Z, Y, X) array that is in memory."""
    streams = [StatsStream(image.dtype, rng) for _ in image]
    for stream, channel in zip(streams, image, strict=True):
        stream.add(channel)
    return tuple(stream.result() for stream in streams)
