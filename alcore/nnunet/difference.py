"""What two models make of the same held-out patches, object by object, with pictures. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alcore.arrays.changes import Change, changes, counts, differences
from alcore.arrays.sizes import least_voxels
from alcore.nnunet import sources
from alcore.nnunet.fallback import PatchSegmenter
from alcore.stage import Context
from alcore.volumes.labels import read_labels
from alcore.volumes.picture_changes import write_changes


def on_patches(
    models: tuple[Path, Path],
    labels: Sequence[tuple[str, Path]],
    out: Path,
    ctx: Context,
    min_voxels: int | None,
    min_um3: float,
) -> list[dict[str, Any]]:
    """Compare two models on label artifacts (name, path); writes <name>.png where something changed.

    Returns one row per patch: {"name", "counts": see `changes.counts`, "changes", "picture"}. What nobody looked at does not
    count. Runs inside `nnunet_process`.
    """
    segmenters = [PatchSegmenter(folder, ctx.device, 0.5, ctx.ram_bytes) for folder in models]
    rows = []
    for n, (name, path) in enumerate(labels):
        ctx.progress(n / len(labels), f"comparing on {name}")
        image, stats, voxel_um = sources.label_image(path)
        least = least_voxels(min_voxels, min_um3, voxel_um)
        maps = [sources.label_mask(path), *(s.segment(image, stats, voxel_um, least) for s in segmenters)]
        ignored = sources.label_ignored(path)
        if ignored is not None:
            maps = [np.where(ignored, 0, ids).astype(np.uint32) for ids in maps]
        truth, a, b = maps
        rows.append(_row(name, changes(truth, a, b), image[0], a, b, truth, out))
    return rows


def on_volume(name: str, a: Path, b: Path, out: Path) -> dict[str, Any]:
    """Compare two segmentations of a volume (instances.tif), which must fit into memory; the picture is of the objects alone."""
    one, other = (read_labels(path)[0].astype(np.uint32) for path in (a, b))
    found = differences(one, other)
    either = ((one > 0).astype(np.uint8) + (other > 0)).astype(np.uint8)
    return _row(name, found, either, one, other, None, out)


def _row(name: str, found: list[Change], image: Any, a: Any, b: Any, truth: Any, out: Path) -> dict[str, Any]:
    picture = None
    if found:
        z = found[0].centre[0]  # the plane through the largest object that changed
        picture = out / f"{name}.png"
        write_changes(picture, image[z], a[z], b[z], None if truth is None else truth[z])
    return {
        "name": name,
        "counts": dict(counts(found)),
        "changes": [c.to_json() for c in found],
        "picture": None if picture is None else str(picture),
    }
