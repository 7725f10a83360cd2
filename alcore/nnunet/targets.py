"""What a network is trained to say of each voxel: object or not, or core and border of an object; and where nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.bordercore import border_core
from alcore.errors import PermanentError
from alcore.nnunet.binning import Factors, bin_instances, bin_seen, separated_foreground
from alcore.types import VoxelSize

INSTANCES = ("components", "border-core")
"""How objects are told apart: as the connected components of the foreground, or by a class for their border."""
IGNORE = "ignore"
ANISOTROPIC = 2.0
"""With planes this many times farther apart than pixels, borders lie within the planes."""
BORDER_PX = 2.0
"""Border on the network grid, where none is asked for: the thinnest that two objects in contact do not blur into one."""


@dataclass(frozen=True)
class Border:
    """px: thickness in pixels of the network grid. in_plane: only along y and x."""

    px: float
    in_plane: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"px": self.px, "in_plane": self.in_plane}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Border | None:
        """Inverse of `to_json`; None stands for connected components."""
        return None if value is None else cls(float(value["px"]), bool(value["in_plane"]))


def border_for(instances: str, border_um: float, voxel_um: VoxelSize | None, binning: Factors) -> Border | None:
    """The border for data of this voxel size, None for connected components. border_um: 0 = `BORDER_PX`.

    Raises PermanentError for a thickness in um where the voxel size is unknown, or below one pixel of the network grid.
    """
    if instances == "components":
        return None
    in_plane = voxel_um is not None and voxel_um[0] >= ANISOTROPIC * max(voxel_um[1:])
    if not border_um:
        return Border(BORDER_PX, in_plane)
    if voxel_um is None:
        raise PermanentError(
            f"training.border_um = {border_um:g} needs the voxel size of the volumes, which is unknown: "
            "set watch.voxel_um, or border_um = 0 for a border of two pixels"
        )
    pixel_um = max(voxel_um[1] * binning[1], voxel_um[2] * binning[2])
    if border_um < pixel_um:
        raise PermanentError(
            f"training.border_um = {border_um:g} is less than a pixel of the network grid ({pixel_um:g} um): "
            "make it larger, or 0 for a border of two pixels"
        )
    return Border(border_um / pixel_um, in_plane)


def label_names(border: Border | None) -> dict[str, int]:
    """The labels of dataset.json. "ignore" is the highest and has no output of its own.

    It is always declared, so that sparse labels can join at any time: the network is the same.
    """
    names = {"background": 0, "object": 1} if border is None else {"background": 0, "core": 1, "border": 2}
    return names | {IGNORE: len(names)}


def classes_of(dataset: Mapping[str, Any]) -> dict[str, int]:
    """Labels of a dataset.json that the network has an output for, background included."""
    return {name: int(value) for name, value in dataset["labels"].items() if name != IGNORE}


def with_ignore(dataset: Mapping[str, Any], ignore: bool) -> dict[str, Any]:
    """A dataset.json that declares the ignore label, or does not.

    nnU-Net centres crops on annotated voxels and masks its loss once the label is declared; a training in which all was
    looked at does without.
    """
    labels = classes_of(dataset)
    return {**dataset, "labels": labels | ({IGNORE: len(labels)} if ignore else {})}


def target(
    instances: npt.NDArray[np.integer[Any]],
    seen: npt.NDArray[np.bool_] | None,
    factors: Factors,
    border: Border | None,
    spacing: VoxelSize,
) -> npt.NDArray[np.int8]:
    """What to learn, (Z, Y, X) int8 on the network grid, of instances (Z, Y, X) on the acquisition grid.

    seen: (Z, Y, X), None = all; a binned voxel that was not looked at as a whole is ignored. spacing: of the network grid
    (z, y, x), in any unit.
    """
    binned = bin_instances(instances, factors)
    unseen = None if seen is None else ~bin_seen(seen, factors)
    if unseen is not None:
        binned[unseen] = 0
    if border is None:
        found = separated_foreground(binned).astype(np.int8)
    else:
        pixel = max(spacing[1:])
        z, y, x = (s / pixel for s in spacing)
        found = border_core(binned, border.px, (z, y, x), border.in_plane, unseen).astype(np.int8)
    if unseen is not None:
        found[unseen] = label_names(border)[IGNORE]
    return found
