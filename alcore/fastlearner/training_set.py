"""What is kept of a labelled patch for training: the features of some of its voxels, and the sizes of its objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alcore.fastlearner.filters import features

Array = npt.NDArray[np.float32]

WIDEST = 4
"""Most voxels averaged into one along Y and X."""


@dataclass(frozen=True)
class Labelled:
    """A labelled patch, reduced to what a fit needs.

    rows (n, F) float32 features of the sampled voxels. inside (n,) bool: in an object, not at its border with another.
    weight (n,) float32: how many voxels of the patch each stands for. sizes (m,): voxels of each object of the label on the working grid.
    """

    rows: Array
    inside: npt.NDArray[np.bool_]
    weight: Array
    sizes: npt.NDArray[np.int64]


def working_factor(voxel_um: tuple[float, float, float] | None, yx: tuple[int, int]) -> int:
    """Voxels averaged into one along Y and X before filtering, so that slices far apart are seen at a like resolution.

    The in-plane voxel is enlarged up to the distance of the slices, at most `WIDEST` times and not so far that fewer
    than 16 voxels remain along an edge. 1 when the voxel size is unknown.
    """
    if voxel_um is None:
        return 1
    wanted = round(voxel_um[0] / max(voxel_um[1:]))
    return int(max(1, min(wanted, WIDEST, min(yx) // 16)))


def filtered(image: Array, voxel_um: tuple[float, float, float] | None, factor: int) -> Array:
    """Features (F, Z, ceil(Y / factor), ceil(X / factor)) of a normalised image (C, Z, Y, X). Values that are not finite count as 0."""
    coarse = _averaged(np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0), factor)
    z, y, x = voxel_um or (1.0, 1.0, 1.0)
    return features(coarse, (z / (max(y, x) * factor), 1.0, 1.0))


def _averaged(image: Array, factor: int) -> Array:
    """Means over factor x factor blocks in Y and X; blocks at the end that are cut off are filled up with the edge."""
    if factor == 1:
        return image
    y, x = image.shape[2:]
    full = np.pad(image, ((0, 0), (0, 0), (0, -y % factor), (0, -x % factor)), mode="edge")
    c, z, y, x = full.shape
    blocks: Array = full.reshape(c, z, y // factor, factor, x // factor, factor).mean((3, 5), dtype=np.float32)
    return blocks


def coarse_labels(labels: npt.NDArray[np.generic], factor: int) -> npt.NDArray[np.generic]:
    """Instances (Z, Y, X) on the working grid: the id at the centre of each block."""
    y, x = labels.shape[1:]
    rows, columns = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in (y, x))
    return labels[:, rows[:, None], columns]


def inside_objects(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """(Z, Y, X) bool: in an object, and no face neighbour in another one. Without this, cells that touch would be one component."""
    inside = labels != 0
    for axis in range(3):
        low: list[slice] = [slice(None)] * 3
        high: list[slice] = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        a, b = labels[tuple(low)], labels[tuple(high)]
        touching = (a != b) & (a != 0) & (b != 0)
        inside[tuple(low)] &= ~touching
        inside[tuple(high)] &= ~touching
    return inside


def sample(
    filtered_image: Array,
    labels: npt.NDArray[np.generic],
    n_voxels: int,
    rng: np.random.Generator,
    seen: npt.NDArray[np.bool_] | None = None,
) -> Labelled:
    """Reduce a patch, features (F, Z, Y, X) and instances (Z, Y, X) on the working grid, to about `n_voxels` voxels.

    seen: the voxels (Z, Y, X) that may be taken, None = all; outside, the labels mean nothing.

    Half of them are inside objects where there are so many: objects are rare, and a uniform sample would hardly show
    them. The weights undo that: they add up to the number of voxels of each class. Raises ValueError when shapes differ.
    """
    if filtered_image.shape[1:] != labels.shape:
        raise ValueError(f"features of shape {filtered_image.shape[1:]} and labels of {labels.shape} do not match")
    if seen is None:
        seen = np.ones(labels.shape, bool)
    labels = np.where(seen, labels, 0)
    inside = inside_objects(labels).ravel()
    positive, negative = np.flatnonzero(inside), np.flatnonzero(~inside & seen.ravel())
    n_positive = min(len(positive), max(n_voxels // 2, n_voxels - len(negative)))
    n_negative = min(len(negative), n_voxels - n_positive)
    chosen = np.concatenate(
        [rng.choice(positive, n_positive, replace=False), rng.choice(negative, n_negative, replace=False)]
    ).astype(np.int64)
    weight = np.repeat(
        np.array([len(positive) / max(n_positive, 1), len(negative) / max(n_negative, 1)], np.float32),
        [n_positive, n_negative],
    )
    flat = filtered_image.reshape(len(filtered_image), -1)
    sizes = np.unique(labels[labels != 0], return_counts=True)[1]
    return Labelled(np.ascontiguousarray(flat[:, chosen].T), inside[chosen], weight, sizes.astype(np.int64))
