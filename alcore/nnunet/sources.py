"""Training cases from artifacts: patches of volumes with pseudo-labels, and labels that people made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays import normalise
from alcore.errors import PermanentError
from alcore.kinds import Kind
from alcore.nnunet.case import Arrays, Case, Mask, voxel_size
from alcore.stage import Input
from alcore.types import Box, IntensityStats, VolumeInfo, VoxelSize
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels
from alcore.volumes.store import open_labels

SEEN = "seen.tif"
"""In a label artifact of which only a part was looked at: (Z, Y, X), 0 where nobody did."""


def volume_info(volume: Path) -> VolumeInfo:
    """The VolumeInfo of a volume artifact."""
    return VolumeInfo.from_json(json.loads((volume / "info.json").read_text()))


def pseudo_cases(
    volumes: Sequence[Input],
    sources: Sequence[Input],
    pseudo: Sequence[Input],
    read: Sequence[Mapping[str, Any]],
    patches: Sequence[Mapping[str, Any]],
) -> list[Case]:
    """One case per patch {"volume": index, "start", "shape"} of volumes with pseudo-labels (aligned lists)."""
    if not len(volumes) == len(sources) == len(pseudo) == len(read):
        raise PermanentError(
            f"volume, source, pseudo and read must be aligned, got {len(volumes)}, {len(sources)}, {len(pseudo)} "
            f"and {len(read)}"
        )
    infos = [volume_info(v.path) for v in volumes]

    def case(n: int, box: Box) -> Case:
        def load() -> Arrays:
            with open_volume(sources[n].path, read[n]) as reader:
                image = normalise.fixed(reader.read(box), infos[n].stats)
            labels = open_labels(pseudo[n].path / "instances.zarr")
            return image, np.asarray(labels[box.slices])

        return Case(f"{volumes[n].key} {pseudo[n].key} {box.to_json()}", infos[n].voxel_um, load)

    return [case(int(patch["volume"]), Box.from_json(patch)) for patch in patches]


def label_image(label: Path) -> tuple[npt.NDArray[np.generic], tuple[IntensityStats, ...], VoxelSize | None]:
    """Of a label artifact: image (C, Z, Y, X) as acquired, statistics of its whole volume, voxel size (z, y, x) um."""
    about = json.loads((label / "label.json").read_text())
    box = Box.from_json(about["box"])
    stats = tuple(IntensityStats(**s) for s in about["stats"])
    with open_volume(label / "image.tif") as reader:
        image = reader.read(Box((0, 0, 0), box.shape))
    return image, stats, voxel_size(about["voxel_um"])


def label_kind(label: Path) -> Kind:
    """What data a label artifact is of."""
    about = json.loads((label / "label.json").read_text())
    return Kind.of(len(about["stats"]), about["voxel_um"])


def label_mask(label: Path, name: str = "label.tif") -> npt.NDArray[np.uint32]:
    """Instances (Z, Y, X) in a label artifact: the expert's ("label.tif") or the pseudo-label's ("pseudo.tif").

    Where nobody looked (see `label_seen`) they mean nothing.
    """
    mask, _ = read_labels(label / name)
    return mask.astype(np.uint32)


def label_seen(label: Path) -> Mask | None:
    """Which voxels (Z, Y, X) of a label artifact the expert looked at; None = all of them."""
    if not (label / SEEN).is_file():
        return None
    mask, _ = read_labels(label / SEEN)
    return mask != 0


def label_ignored(label: Path) -> Mask | None:
    """Which voxels (Z, Y, X) of a label artifact say nothing; None = none of them."""
    seen = label_seen(label)
    return None if seen is None else ~seen


def label_cases(labels: Sequence[Input]) -> list[Case]:
    """One case per label artifact. Objects are cut off where nobody looked.

    Raises PermanentError, when the case is loaded, for a label whose seen.tif has another shape than it.
    """

    def case(item: Input) -> Case:
        about = json.loads((item.path / "label.json").read_text())

        def seen() -> Mask:
            mask = label_seen(item.path)
            assert mask is not None
            return mask

        sparse = (item.path / SEEN).is_file()

        def load() -> Arrays:
            image, stats, _ = label_image(item.path)
            instances = label_mask(item.path)
            if sparse:
                looked_at = seen()
                if looked_at.shape != instances.shape:
                    raise PermanentError(
                        f"{item.path / SEEN}: shape {looked_at.shape}, but the label has {instances.shape}; "
                        "accept the label again"
                    )
                instances[~looked_at] = 0
            return normalise.fixed(image, stats), instances

        return Case(item.key, voxel_size(about["voxel_um"]), load, seen if sparse else None)

    return [case(item) for item in labels]
