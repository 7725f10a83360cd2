"""What two models make of the same held-out patches, object by object, with pictures. Imports nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.changes import Change, changes, counts, differences
from alcore.arrays.sizes import least_voxels
from alcore.nnunet import model, sources
from alcore.nnunet.fallback import PatchSegmenter
from alcore.stage import Context
from alcore.volumes.labels import read_labels
from alcore.volumes.labels_zarr import read_labels_zarr
from alcore.volumes.picture_changes import Row, write_changes

MOST_PLANES = 6
"""Slices in one picture: those through the largest objects that changed."""

Ids = npt.NDArray[np.uint32]


def comparable(
    models: tuple[Path, Path], labels: Sequence[tuple[str, Path]], names: tuple[str, str]
) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """The label artifacts (name, path) that both models take, and (name, why) of the others: of other data than a model's."""
    made_for = [model.load_design(folder).made_for for folder in models]
    fitting, others = [], []
    for name, path in labels:
        kind = sources.label_kind(path)
        why = next(
            (f"{kind}, but {m} takes {mf.kind}" for m, mf in zip(names, made_for, strict=True) if not mf.takes(kind)),
            None,
        )
        if why is None:
            fitting.append((name, path))
        else:
            others.append((name, why))
    return fitting, others


def on_patches(
    models: tuple[Path, Path],
    labels: Sequence[tuple[str, Path]],
    out: Path,
    ctx: Context,
    min_voxels: int | None,
    min_um3: float,
    names: tuple[str, str] = ("a", "b"),
) -> list[dict[str, Any]]:
    """Compare two models on label artifacts (name, path); writes <name>.png where something changed.

    Returns one row per patch: {"name", "counts": see `changes.counts`, "changes", "picture"}. What nobody looked at does not
    count. names: of the models, for the pictures. Runs inside `nnunet_process`. Raises PermanentError for a label that a model
    does not take (see `comparable`).
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
        rows.append(_row(name, changes(truth, a, b), image[0], a, b, truth, out, names))
    return rows


def on_volume(name: str, a: Path, b: Path, out: Path, names: tuple[str, str] = ("a", "b")) -> dict[str, Any]:
    """Compare two segmentations of a volume (instances.tif or .ome.zarr), which must fit into memory; the picture is of the
    objects alone. Raises PermanentError for one that is too large to read."""
    one, other = (_whole(path) for path in (a, b))
    found = differences(one, other)
    either = ((one > 0).astype(np.uint8) + (other > 0)).astype(np.uint8)
    return _row(name, found, either, one, other, None, out, names)


def _whole(path: Path) -> Ids:
    found = read_labels_zarr(path) if path.suffix == ".zarr" else read_labels(path)[0]
    return found.astype(np.uint32)


def _row(
    name: str,
    found: list[Change],
    image: npt.NDArray[np.generic],
    a: Ids,
    b: Ids,
    truth: Ids | None,
    out: Path,
    names: tuple[str, str],
) -> dict[str, Any]:
    picture = None
    if found:
        picture = out / f"{name}.png"
        rows = []
        for z, numbered in _planes(found):
            first, those = numbered[0][0], [change for _, change in numbered]
            words = ", ".join(f"{number} {_words(change)}" for number, change in numbered)
            seen = None if truth is None else truth[z]
            marks = [change.centre[1:] for change in those]
            rows.append(Row(image[z], a[z], b[z], seen, marks, first, f"z {z}: {words}"))
        write_changes(picture, rows, names)
    return {
        "name": name,
        "counts": dict(counts(found)),
        "changes": [c.to_json() for c in found],
        "picture": None if picture is None else str(picture),
    }


def _planes(found: Sequence[Change]) -> list[tuple[int, list[tuple[int, Change]]]]:
    """The slices through the middle of the largest objects that changed, each with those whose middle it is, numbered on."""
    by_plane: dict[int, list[Change]] = {}
    for change in found:
        by_plane.setdefault(change.centre[0], []).append(change)
    planes, number = [], 0
    for z, those in list(by_plane.items())[:MOST_PLANES]:
        planes.append((z, [(number + i, change) for i, change in enumerate(those, start=1)]))
        number += len(those)
    return planes


def _words(change: Change) -> str:
    how = f" {change.iou_a:.2f} > {change.iou_b:.2f}" if "invented" not in change.kind else ""
    return f"{change.kind}{how}"
