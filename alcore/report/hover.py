"""The thumbnails of the map: a bounded number of patches, the marked ones first, then some from everywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.fileset import fingerprint_of
from alcore.report.page import Hover
from alcore.report.pictures import READ_ERRORS, middle_slice, sheet, thumbnail
from alcore.report.points import Points, spread
from alcore.stage import Context, Input
from alcore.types import Box
from alcore.volumes.patch_image import PatchImage

PX = 96
MOST = 320
"""Thumbnails in a page, whatever the size of the pool: about a megabyte."""
SHARES = {"suggested": 70, "held out": 40, "labelled": 70, "by chance": 20, "outlier": 40, "newest": 40}
"""Of them at most so many with each mark; the rest comes from everywhere on the map."""


@dataclass(frozen=True)
class Origin:
    """Where a volume can be read. content: `Fingerprint.content` of the acquisition as it was when it was embedded."""

    source: Input
    read: Mapping[str, Any]
    content: str


def hover(
    points: Points,
    origins: Mapping[str, Origin],
    packages: Mapping[tuple[str, int], Path],
    notes: Mapping[int, str],
    ctx: Context,
) -> Hover:
    """Read the thumbnails. origins: by embedding key; packages: folders of suggestions by (embedding key, patch), which are read
    rather than the acquisition. A patch that cannot be read now has none."""
    shots: list[int] = []
    thumbs: list[npt.NDArray[np.uint8]] = []
    readable = np.array([key in origins for key in points.keys], bool)[points.of]
    for key, row in packages:
        readable[points.at(key, [row])] = True
    chosen = choose(points, np.flatnonzero(readable))
    for n, i in enumerate(chosen):
        if n % 16 == 0:
            ctx.progress(0.1 + 0.5 * n / len(chosen), f"picture {n + 1} of {len(chosen)}")
        key, row = points.keys[points.of[i]], int(points.row[i])
        plane = _plane(points, int(i), packages.get((key, row)), origins.get(key))
        if plane is not None:
            shots.append(int(i))
            thumbs.append(thumbnail(plane, PX))
    data, columns = sheet(thumbs, PX)
    return Hover(data, columns, shots, notes)


def choose(points: Points, among: npt.NDArray[np.int64]) -> list[int]:
    """Which of these positions get a thumbnail, ascending."""
    taken = np.empty(0, np.int64)
    for name, most in SHARES.items():
        those = np.intersect1d(points.marked(name), among)
        taken = np.union1d(taken, spread(points, np.setdiff1d(those, taken), most))
    rest = spread(points, np.setdiff1d(among, taken), MOST - len(taken))
    return [int(i) for i in np.union1d(taken, rest)]


def _plane(points: Points, i: int, package: Path | None, origin: Origin | None) -> npt.NDArray[np.generic] | None:
    box = Box(_three(points.start[i]), _three(points.shape[i]))
    try:
        if package is not None:
            kept = PatchImage.of(package, box.shape)
            if kept.path.is_file():
                return middle_slice(kept.path, kept.inside)
        if origin is not None and _unchanged(origin):
            return middle_slice(origin.source.path, box, origin.read)
    except READ_ERRORS:
        return None
    return None


def _unchanged(origin: Origin) -> bool:
    now = fingerprint_of(os.fsencode(origin.source.path), origin.source.members)
    return now is not None and (not origin.content or now.content == origin.content)


def _three(numbers: Sequence[int] | npt.NDArray[np.int64]) -> tuple[int, int, int]:
    z, y, x = (int(n) for n in numbers)
    return z, y, x
