"""From what nnUNetv2_predict wrote (with --save_probabilities) to objects on the voxels of the image.

    python objects.py PREDICTED OUT volume_a.tif volume_b.tif ...

writes OUT/<name>.tif, ids 1..n: probabilities back on the grid of the image, the most likely class of each voxel, and the
objects that are not too small. These are the 6-connected components of the foreground; of a model that tells borders from
cores they are its cores, grown into the borders around them. Needs numpy, scipy and tifffile, and some 40 bytes of memory for
every voxel of the image. about.json lies beside this script.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

CORE = 1


def finer(values: npt.NDArray[np.float32], factors: Sequence[int]) -> npt.NDArray[np.float32]:
    """Linear interpolation of (Z, Y, X) from the centres of bins to voxels; edges repeat."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            n = values.shape[axis]
            position = (np.arange(n * factor) + 0.5) / factor - 0.5
            below = np.floor(position).astype(int)
            shape = [1, 1, 1]
            shape[axis] = -1
            weight = (position - below).astype(np.float32).reshape(shape)
            low = np.take(values, below.clip(0, n - 1), axis=axis)
            high = np.take(values, (below + 1).clip(0, n - 1), axis=axis)
            values = low + (high - low) * weight
    return values


def most_likely(
    probabilities: npt.NDArray[np.floating[Any]], factors: Sequence[int], shape: Sequence[int]
) -> npt.NDArray[np.uint8]:
    """Class (Z, Y, X) of every voxel, 0 = background, from probabilities (class, z, y, x) on the grid of the network."""
    logs = np.log(np.clip(probabilities.astype(np.float32), 1e-30, None))
    inside = tuple(slice(0, n) for n in shape)
    scores = np.stack([finer(k - logs[0], factors)[inside] for k in logs[1:]])
    found: npt.NDArray[np.uint8] = np.where(scores.max(axis=0) > 0, scores.argmax(axis=0) + 1, 0).astype(np.uint8)
    return found


def components(mask: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.uint32]:
    """6-connected components of at least so many voxels, 1..n in the order of their first voxel."""
    ids, _ = ndimage.label(mask)
    return numbered(ids.astype(np.uint32), least)


def numbered(ids: npt.NDArray[np.uint32], least: int) -> npt.NDArray[np.uint32]:
    """The objects of at least so many voxels as 1..n, in the order of their ids."""
    kept = np.bincount(ids.ravel()) >= max(1, least)
    kept[0] = False
    table = np.zeros(len(kept), np.uint32)
    table[kept] = np.arange(1, np.count_nonzero(kept) + 1)
    return table[ids]


def grown(
    ids: npt.NDArray[np.uint32], foreground: npt.NDArray[np.bool_], axes: Sequence[int]
) -> npt.NDArray[np.uint32]:
    """Objects grow along these axes into the foreground that has no id, all at one pace, until nothing is left to reach.

    In every step a voxel takes the id of a neighbour as it was before that step, of several the smallest.
    """
    padded = np.pad(ids, 1)
    flat = padded.ravel()
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    free = np.flatnonzero(np.pad(foreground & (ids == 0), 1))
    beyond = np.iinfo(np.uint32).max
    while True:
        smallest = np.full(len(free), beyond, np.uint32)
        for step in (sign * strides[axis] for axis in axes for sign in (-1, 1)):
            beside = flat[free + step]
            smallest = np.minimum(smallest, np.where(beside > 0, beside, beyond))
        reached = smallest < beyond
        if not reached.any():
            return padded[1:-1, 1:-1, 1:-1]
        flat[free[reached]] = smallest[reached]
        free = free[~reached]


def objects(classes: npt.NDArray[np.uint8], about: Mapping[str, Any]) -> npt.NDArray[np.uint32]:
    """Ids (Z, Y, X), 0 = background, from classes (Z, Y, X)."""
    foreground, least = classes > 0, int(about["min_voxels"])
    border = about.get("border")
    if border is None:
        return components(foreground, least)
    ids = components(classes == CORE, int(about["least_core"]))
    if border["in_plane"]:  # planes are far apart: first within each of them
        ids = grown(ids, foreground, (1, 2))
    ids = grown(ids, foreground, (0, 1, 2))
    coreless = components(foreground & (ids == 0), least)
    cored = numbered(ids, least)
    return cored + np.where(coreless > 0, coreless + cored.max(), 0).astype(np.uint32)


def extent(shape: Sequence[int], channels: int) -> tuple[int, ...]:
    """(Z, Y, X) of an image in a TIFF, where axes of length one may be left out."""
    planes = 1 if len(shape) == 2 or (len(shape) == 3 and channels > 1) else shape[-3]
    return (planes, *shape[-2:])


def main(predicted: str, out: str, paths: Sequence[str]) -> None:
    """Write the objects of every image."""
    about = json.loads(Path(__file__).with_name("about.json").read_text())
    Path(out).mkdir(parents=True, exist_ok=True)
    for path in map(Path, paths):
        with tifffile.TiffFile(path) as tif:
            shape = extent(tif.series[0].shape, about["channels"])
        name = path.name.split(".")[0]
        with np.load(Path(predicted) / f"{name}.npz") as stored:
            classes = most_likely(stored["probabilities"], about["binning"], shape)
        tifffile.imwrite(Path(out) / f"{name}.tif", objects(classes, about), compression="zlib")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
