"""From what nnUNetv2_predict wrote (with --save_probabilities) to objects on the voxels of the image.

    python objects.py PREDICTED OUT volume_a.tif volume_b.tif ...

writes OUT/<name>.tif, ids 1..n: probabilities back on the grid of the image, the most likely class of each voxel, and the
6-connected components that are not too small. Needs numpy, scipy and tifffile. about.json lies beside this script.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage


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


def main(predicted: str, out: str, paths: Sequence[str]) -> None:
    """Write the objects of every image."""
    about = json.loads(Path(__file__).with_name("about.json").read_text())
    Path(out).mkdir(parents=True, exist_ok=True)
    for path in map(Path, paths):
        with tifffile.TiffFile(path) as tif:
            shape = tif.series[0].shape[-3:]
        name = path.name.split(".")[0]
        with np.load(Path(predicted) / f"{name}.npz") as stored:
            p = np.clip(stored["probabilities"].astype(np.float32), 1e-30, None)
        inside = tuple(slice(0, n) for n in shape)
        scores = np.stack([finer(np.log(k) - np.log(p[0]), about["binning"])[inside] for k in p[1:]])
        ids, _ = ndimage.label(scores.max(axis=0) > 0)
        sizes = np.bincount(ids.ravel())
        kept = np.flatnonzero(sizes >= max(1, about["min_voxels"]))
        table = np.zeros(len(sizes), np.uint32)
        table[kept[kept > 0]] = np.arange(1, np.count_nonzero(kept > 0) + 1)
        tifffile.imwrite(Path(out) / f"{name}.tif", table[ids], compression="zlib")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
