"""Prepare images for this exported model, as it was trained: fixed normalisation of the whole volume, then binning.

    python prepare.py FOLDER volume_a.tif volume_b.tif ...

writes FOLDER/<name>_0000.tif (float32; one file per channel) and <name>.json, which nnUNetv2_predict reads. Give whole
volumes (Z, Y, X), or (C, Z, Y, X) for several channels, or single planes (Y, X) or (C, Y, X): the statistics are those of the
whole image. Needs numpy and tifffile, which nnU-Net brings along. about.json lies beside this script.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile


def normalised(channel: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Clip to the 0.5 and 99.5 percentiles, subtract the mean and divide by the standard deviation of the whole channel."""
    values = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
    low, high = np.percentile(values, (0.5, 99.5))
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    wide = channel.dtype == np.float64 or (channel.dtype.kind in "iu" and channel.dtype.itemsize > 2)
    if wide:  # float32 keeps 24 bits only
        centred = np.clip(channel, low, high).astype(np.float64) - mean
        return np.asarray(centred / max(std, 1e-8), np.float32)
    out: npt.NDArray[np.float32] = np.clip(channel.astype(np.float32), np.float32(low), np.float32(high))
    out -= np.float32(mean)
    out /= np.float32(max(std, 1e-8))
    return out


def binned(image: npt.NDArray[np.float32], factors: Sequence[int]) -> npt.NDArray[np.float32]:
    """Mean over bins (z, y, x); incomplete bins at the end repeat the edge."""
    pad = [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)]
    whole = np.pad(image, pad, mode="edge")
    shape = [n for s, f in zip(whole.shape, factors, strict=True) for n in (s // f, f)]
    mean: npt.NDArray[np.float32] = whole.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
    return mean


def as_volume(image: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """(C, Z, Y, X) of an image as it lies in a TIFF, where axes of length one may be left out."""
    if image.ndim == 2:
        return image[None, None]
    if image.ndim == 3:
        return image[None] if channels == 1 else image[:, None]
    return image


def main(target: str, paths: Sequence[str]) -> None:
    """Write the input folder."""
    about = json.loads(Path(__file__).with_name("about.json").read_text())
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    for path in map(Path, paths):
        image = as_volume(tifffile.imread(path), about["channels"])
        if image.ndim != 4 or len(image) != about["channels"]:
            sys.exit(f"{path}: shape {image.shape} is not (Z, Y, X) of {about['channels']} channels")
        name = path.name.split(".")[0]
        for c, channel in enumerate(image):
            tifffile.imwrite(folder / f"{name}_{c:04d}.tif", binned(normalised(channel), about["binning"]))
        # the spacing that the network was planned for: nnU-Net is not to resample
        (folder / f"{name}.json").write_text(json.dumps({"spacing": about["spacing"]}))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
