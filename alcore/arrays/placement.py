"""Does a mask lie where it belongs? It is compared with a reference in every mirror image and near shift (by FFT)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
REACH = (4, 24, 24)
"""Shifts (z, y, x) in voxels up to which a better place is looked for."""
NEAR = (1, 2, 2)
"""Shifts up to these are how people draw, and no slip of a tool."""
BIN_ABOVE_VOXELS = 1 << 20
"""Larger masks are compared at half the resolution in Y and X."""
DICE_GAIN = 0.25
DICE_LEAST = 0.5
"""A place is clearly better by so much Dice, reaching at least so much."""
EDGE_GAIN = 2.0
EDGE_LEAST = 0.3
"""At image edges: the mean contrast under the borders is so many times larger, and at least so many standard deviations."""
EDGE_SURE = 8.0
ALIKE_VOXELS = 10
"""And so many standard errors, as about so many neighbouring border voxels say the same: the best of a hundred thousand places
in noise reaches about five."""


@dataclass(frozen=True)
class Place:
    """A better place: mirrored axes (letters of "zyx"), then a shift (z, y, x) in voxels."""

    mirrored: str
    shift: tuple[int, int, int]

    def words(self) -> str:
        """For people."""
        parts = []
        if self.mirrored:
            parts.append(f"mirrored in {' and '.join(self.mirrored)}")
        if any(self.shift):
            parts.append(f"shifted by (z, y, x) = {self.shift}")
        return " and ".join(parts)


def better_place(
    labels: npt.NDArray[np.integer], pseudo: npt.NDArray[np.integer] | None, plane: Float32
) -> Place | None:
    """Where the foreground of `labels` (Z, Y, X) would fit clearly better than where it is, or None.

    It is compared with the foreground of the pseudo-label; where that agrees with it nowhere, or there is none, the borders of
    the objects are compared with the edges in the image `plane` (Z, Y, X) float32.
    """
    step = 2 if labels.size > BIN_ABOVE_VOXELS else 1
    mask = _binned((labels > 0).astype(np.float32), step)
    if not mask.any() or mask.all():
        return None
    if pseudo is not None and pseudo.any():
        reference = _binned((pseudo > 0).astype(np.float32), step)
        total = float(mask.sum() + reference.sum())
        here, found = _best(mask, reference, 2 / total, step)
        if max(here, found[0]) >= DICE_LEAST:
            return found[1] if found[0] >= here + DICE_GAIN else None
    drawn = _borders(labels)
    errors = np.sqrt(np.count_nonzero(drawn) / ALIKE_VOXELS)
    border = _binned(drawn.astype(np.float32), step)
    edges = _binned(_edges(plane), step)
    n = float(border.sum())
    here, found = _best(border, edges, 1 / n, step)
    least = max(EDGE_LEAST, EDGE_SURE / errors, EDGE_GAIN * max(here, 0.0) + EDGE_LEAST / 2)
    return found[1] if found[0] >= least else None


def _best(mask: Float32, reference: Float32, scale: float, step: int) -> tuple[float, tuple[float, Place]]:
    """The overlap times `scale` where the mask is, and the largest one in another place with that place."""
    from scipy import fft

    reach = [min(r // s, n // 2) for r, s, n in zip(REACH, (1, step, step), mask.shape, strict=True)]
    shape = [fft.next_fast_len(n + r, real=True) for n, r in zip(mask.shape, reach, strict=True)]
    seen = fft.rfftn(reference, shape)
    window = np.ix_(*(np.arange(-r, r + 1) for r in reach))
    here, best = 0.0, (-np.inf, Place("", (0, 0, 0)))
    for axes in product((False, True), repeat=3):
        if any(flip and n == 1 for flip, n in zip(axes, mask.shape, strict=True)):
            continue
        turned = np.flip(mask, tuple(a for a, flip in enumerate(axes) if flip))
        overlap = fft.irfftn(np.conj(fft.rfftn(turned, shape)) * seen, shape)[window]
        scores = scale * overlap
        if not any(axes):
            here = float(scores[tuple(reach)])
            near = tuple(
                slice(r - min(r, q // s), r + min(r, q // s) + 1)
                for r, q, s in zip(reach, NEAR, (1, step, step), strict=True)
            )
            here = max(here, float(scores[near].max()))
            scores[near] = -np.inf
        at = np.unravel_index(int(np.argmax(scores)), scores.shape)
        if scores[at] > best[0]:
            z, y, x = ((int(i) - r) * s for i, r, s in zip(at, reach, (1, step, step), strict=True))
            best = (
                float(scores[at]),
                Place("".join(c for c, flip in zip("zyx", axes, strict=True) if flip), (z, y, x)),
            )
    return here, best


def _binned(array: Float32, step: int) -> Float32:
    """Means of step x step voxels in Y and X; what is left over at the end is left out."""
    if step == 1:
        return array
    z, y, x = array.shape
    cut = array[:, : y // step * step, : x // step * step]
    return cut.reshape(z, y // step, step, x // step, step).mean(axis=(2, 4), dtype=np.float32)


def _borders(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """(Z, Y, X): voxels of objects beside another object or background in their slice."""
    edge = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        differ = labels[tuple(low)] != labels[tuple(high)]
        edge[tuple(low)] |= differ
        edge[tuple(high)] |= differ
    return edge & (labels > 0)


def _edges(plane: Float32) -> Float32:
    """How strong the edges within slices are, with mean 0 and standard deviation 1."""
    from scipy import ndimage

    strength = np.hypot(
        *(
            ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(plane, 1.5, axis=other), 1.5, axis=axis, order=1)
            for axis, other in ((1, 2), (2, 1))
        )
    )
    strength = np.minimum(strength, np.percentile(strength, 99))  # a few bright specks are not the objects
    spread = float(strength.std())
    return np.asarray((strength - strength.mean()) / spread if spread else np.zeros_like(strength), np.float32)
