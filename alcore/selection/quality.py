"""What looks broken: patches that greedy k-center would chase, put on a list of their own with the reason in words.

A patch in which nothing varies is never asked about. Blank ones are taken at their word for up to half of the others;
judgements, which compare a patch with its volume or with the pool, for up to a twentieth, the worst first: a wrong rule cannot
empty the queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alcore.selection.coverage import BLOCK, some
from alcore.selection.port import Flaw, Float32, Mask, Pool, Positions
from alcore.selection.usual import ASKED, LEAST, MAD, Usual, of_pool
from alcore.types import PoolPosition

Float64 = npt.NDArray[np.float64]
Rule = tuple[Mask, Float64, Float64, str]
"""Which patches it hits, how far each is beyond its limit, the figure for the words, and the words."""

MOST_SURE, MOST_JUDGED = 0.5, 0.05
"""Shares of the patches looked at: of those in which anything varies, and of all."""
BLANK = 0.6
"""Share of slices without contrast from which on a patch counts as blank."""
CLIPPED = 0.2
"""Share of voxels at the ends of the range that is unusual if the rest of the volume has far less."""
UNSHARP = 0.35
"""Share of its volume's median sharpness below which a patch is out of focus (as in `alcore.volumes.quality`)."""
FAINT = 0.1
"""Share of its volume's median contrast below which a patch shows nothing."""
STRONG = 3.0
"""Times its volume's median contrast above which a patch is folded, cracked or charged."""
FAR = 4.5
"""Robust standard deviations of the logarithm of a figure that a regular patch does not reach; asked besides the limits."""
ALONE = 6.0
"""The same for the isolation of an embedding, which nothing else confirms."""
USUAL = 0.5
"""Where the median contrast of a volume's patches is below this share of its standard deviation, contrast is signal."""
RARE = 0.1
"""A rule that hits more of a volume than this describes the volume: it is not used there."""
LEAST_SPREAD = 1e-12
"""A robust standard deviation below this is none."""
NEIGHBOUR = 5
"""Isolation is the distance to this nearest neighbour."""
REFERENCE = 1024
"""A sample of so many patches tells which are suspected of it,"""
RUN = 32
"""Values whose maximum is looked at first."""
SUSPECTS = 64
"""and so many, the worst, are compared with the whole pool,"""
CONFIRMED = 262_144
"""or with a sample of so many, where that is larger."""


def flaws(pool: Pool, positions: Positions, known: Positions, rng: np.random.Generator) -> list[Flaw]:
    """The QC list of these patches, the worst first, each patch once.

    known: patches that were suggested before, beside which a patch does not count as isolated.
    """
    found: dict[int, Flaw] = {}
    for flaw in [*_facts(pool, positions), *_judgements(pool, positions), *_isolated(pool, positions, known, rng)]:
        before = found.get(flaw.position)
        if before is None or (flaw.sure, flaw.score) > (before.sure, before.score):
            found[flaw.position] = flaw
    worst = sorted(found.values(), key=lambda f: (-f.score, f.position))
    constant = [f for f in worst if _is_flat(pool, f)]
    blank = [f for f in worst if f.sure and not _is_flat(pool, f)]
    sure = [*constant, *blank[: math.floor(MOST_SURE * (len(positions) - len(constant)))]]
    judged = [f for f in worst if not f.sure][: math.ceil(MOST_JUDGED * len(positions)) if len(positions) > 1 else 0]
    return sorted([*sure, *judged], key=lambda f: (not f.sure, -f.score, f.position))


def _is_flat(pool: Pool, flaw: Flaw) -> bool:
    return pool.flat is not None and bool(pool.flat[flaw.position])


def _facts(pool: Pool, positions: Positions) -> Iterator[Flaw]:
    if pool.flat is not None:
        for position in positions[pool.flat[positions]]:
            yield Flaw(
                PoolPosition(int(position)), "nothing in it varies: constant or without finite values", 2.0, True
            )
    blank = pool.trait("blank", positions)
    for i in np.flatnonzero(blank >= BLANK):
        words = "it is blank" if blank[i] >= 1 else f"{blank[i]:.0%} of its slices are blank"
        yield Flaw(PoolPosition(int(positions[i])), words, 1 + float(blank[i]), True)


def _judgements(pool: Pool, positions: Positions) -> Iterator[Flaw]:
    """Patches that differ from the rest of their volume: from all of it, however few of its patches are looked at."""
    usual, volume = of_pool(pool)
    found = _rules(pool, positions, usual.of(volume[positions]))
    suspected = np.unique(np.concatenate([volume[positions[hit]] for hit, *_ in found]))
    if not len(suspected):
        return
    whole = np.flatnonzero(np.isin(volume, suspected))
    of = volume[whole]
    for (hit, score, figure, words), (hit_in_all, *_) in zip(found, _rules(pool, whole, usual.of(of)), strict=True):
        is_rare = np.bincount(of[hit_in_all], minlength=len(usual.size)) <= RARE * usual.size
        for i in np.flatnonzero(hit & is_rare[volume[positions]]):
            yield Flaw(PoolPosition(int(positions[i])), words.format(figure[i]), float(score[i]))


def _rules(pool: Pool, rows: Positions, usual: Usual) -> list[Rule]:
    """What each rule says of these patches. usual: of the volume of each; with NaN no rule fires."""
    sharpness, contrast, clipped, foreground = (pool.trait(name, rows).astype(np.float64) for name in ASKED)
    big = usual.size >= LEAST
    how_sharp = _deviation(sharpness, usual.log_sharpness, usual.sharpness_spread)
    how_strong = _deviation(contrast, usual.log_contrast, usual.contrast_spread)
    sharpness, beside = sharpness / usual.sharpness, contrast / usual.contrast
    # strong contrast is likely what the volume was made for where the usual patch has far less than the volume as a whole (objects
    # on an empty background), and where more than the usual foreground was found
    signal = (usual.strength < USUAL) | (foreground > usual.foreground)
    soft = (sharpness < UNSHARP) & (how_sharp < -FAR)
    return [
        (
            big & (clipped >= CLIPPED) & (clipped >= 4 * usual.clipped),
            clipped / CLIPPED,
            clipped,
            "{:.0%} of its voxels are at the end of the range: charging or saturation",
        ),
        (
            big & (beside > STRONG) & (how_strong > FAR) & ~signal,
            beside / STRONG,
            beside,
            "{:.1f} times the usual contrast of its volume: a fold, a crack or charging",
        ),
        (
            big & soft & (beside >= FAINT) & (beside < 1),
            UNSHARP / np.maximum(sharpness, 1e-6),
            sharpness,
            "{:.0%} of the usual sharpness of its volume: out of focus",
        ),
        (
            big & (beside < FAINT) & (how_strong < -FAR),
            FAINT / np.maximum(beside, 1e-6),
            beside,
            "{:.0%} of the usual contrast of its volume: nearly empty",
        ),
    ]


def _deviation(values: Float64, log_middle: Float64, spread: Float64) -> Float64:
    """(n,) robust z of the logarithms, -inf for 0; 0 where more than half of a volume is the same, NaN where nobody knows.

    A volume of signal and empty background has a wide spread, so that neither is an exception in it.
    """
    known = np.isfinite(values) & np.isfinite(log_middle)
    spreads = known & (values > 0) & (spread > LEAST_SPREAD)
    found = np.where(known, 0.0, np.nan)
    found[spreads] = (np.log(values[spreads]) - log_middle[spreads]) / spread[spreads]
    found[known & (values == 0)] = -np.inf
    return found


def _isolated(pool: Pool, positions: Positions, known: Positions, rng: np.random.Generator) -> Iterator[Flaw]:
    """Patches whose embedding is far from all others: something no other patch shows is more often a fault than a find.

    Suspected by their distance to a sample of the others, confirmed by that to the whole pool (or a large sample of one that is
    very large): a rare structure has few members in a sample, and is not alone.
    """
    if not len(positions) or len(positions) + len(known) < LEAST:
        return
    others = np.union1d(positions, known).astype(np.int64)
    reference = some(others, REFERENCE, rng)
    # fewer than a hundred may show a structure only two or three times
    k = max(1, min(NEIGHBOUR, len(reference) // 20))
    log = np.log(np.maximum(neighbour_distance(pool.embeddings, positions, reference, k), 1e-9))
    z = robust_z(log)
    suspects = np.flatnonzero(z > ALONE)
    suspects = suspects[np.argsort(-z[suspects], kind="stable")][:SUSPECTS]
    if not len(suspects):
        return
    everybody = some(np.arange(len(pool)), CONFIRMED, rng) if len(reference) < len(others) else reference
    distance = neighbour_distance(pool.embeddings, positions[suspects], everybody, k)
    limit = float(np.exp(log[z <= ALONE].max()))
    for i, far in zip(suspects, distance, strict=True):
        if far > limit:
            words = f"unlike every other patch: its nearest ones are {far:.2f} away in cosine distance"
            yield Flaw(PoolPosition(int(positions[i])), words, float(z[i]) / ALONE)


def neighbour_distance(embeddings: Float32, positions: Positions, others: Positions, k: int) -> Float64:
    """(n,) cosine distance of each position to its k-th nearest among `others` (ascending, more than k) but itself."""
    best = np.full((len(positions), 0), -np.inf, np.float32)
    for begin in range(0, len(others), REFERENCE):
        part = others[begin : begin + REFERENCE]
        best = np.concatenate([best, _most_similar(embeddings, positions, part, k)], axis=1)
        best = -np.sort(-best, axis=1)[:, :k]
    found: Float64 = np.maximum(1 - best[:, -1].astype(np.float64), 0)
    return found


def _most_similar(embeddings: Float32, positions: Positions, others: Positions, k: int) -> Float32:
    """(n, min(k, M)) largest inner products of each position with M others but itself, in any order."""
    k = min(k, len(others))
    out = np.empty((len(positions), k), np.float32)
    rows = embeddings[others]
    for begin in range(0, len(positions), BLOCK):
        part = positions[begin : begin + BLOCK]
        similarity = embeddings[part] @ rows.T
        at = np.minimum(np.searchsorted(others, part), len(others) - 1)
        itself = np.flatnonzero(others[at] == part)
        similarity[itself, at[itself]] = -np.inf
        out[begin : begin + BLOCK] = largest(similarity, k)
    return out


def largest(values: Float32, k: int) -> Float32:
    """(n, k) largest of (n, M) values of each row, in any order. Only the k runs with the largest maxima can hold any of them."""
    n, m = values.shape
    n_runs = m // RUN
    if n_runs <= 2 * k:
        found: Float32 = np.partition(values, -k, axis=1)[:, -k:]
        return found
    runs = values[:, : n_runs * RUN].reshape(n, RUN, n_runs)  # run i: every n_runs-th value from the i-th on
    best = np.argpartition(runs.max(axis=1), -k, axis=1)[:, -k:]
    among = np.take_along_axis(runs, best[:, None, :], axis=2).reshape(n, RUN * k)
    return np.partition(np.concatenate([among, values[:, n_runs * RUN :]], axis=1), -k, axis=1)[:, -k:]


def robust_z(values: Float64) -> Float64:
    """(x - median) / (1.4826 median absolute deviation); all 0 where more than half of the values are equal."""
    middle = np.median(values)
    spread = MAD * np.median(np.abs(values - middle))
    return (values - middle) / spread if spread > LEAST_SPREAD else np.zeros(len(values))
