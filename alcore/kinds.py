"""What data a model is made for: as many channels, and a voxel size that its network can take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST_RATIO = 1.6
"""A network copes with objects this much larger or smaller than those it learned from; augmentation covers 0.7 to 1.4."""


@dataclass(frozen=True)
class Kind:
    """channels of the images. voxel_um: (z, y, x), None where unknown, which goes with every size."""

    channels: int
    voxel_um: tuple[float, float, float] | None

    @classmethod
    def of(cls, channels: int, voxel_um: Sequence[float] | None) -> Kind:
        """From plain values."""
        if voxel_um is None:
            return cls(int(channels), None)
        z, y, x = (float(v) for v in voxel_um)
        return cls(int(channels), (z, y, x))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"channels": self.channels, "voxel_um": None if self.voxel_um is None else list(self.voxel_um)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Kind:
        """Inverse of `to_json`."""
        return cls.of(value["channels"], value["voxel_um"])

    def __str__(self) -> str:
        size = "unknown voxel size" if self.voxel_um is None else " x ".join(f"{v:g}" for v in self.voxel_um) + " um"
        return f"{self.channels} channel{'s' if self.channels != 1 else ''}, {size}"


@dataclass(frozen=True)
class MadeFor:
    """A kind, by how much its voxels are binned (z, y, x) before the network sees them, and how objects are told apart."""

    kind: Kind
    binning: tuple[int, int, int] = (1, 1, 1)
    instances: str = "components"

    def binning_of(self, voxel_um: tuple[float, float, float] | None) -> tuple[int, int, int] | None:
        """Binning that brings an image of this voxel size closest to the network grid; the model's own where unknown.

        None where more than a factor of `LARGEST_RATIO` would remain along an axis.
        """
        if voxel_um is None or self.kind.voxel_um is None:
            return self.binning
        wanted = [m * f / v for m, f, v in zip(self.kind.voxel_um, self.binning, voxel_um, strict=True)]
        fy, fx = (max(1, 2 ** round(math.log2(w))) for w in wanted[1:])
        if any(not 1 / LARGEST_RATIO <= w / f <= LARGEST_RATIO for w, f in zip(wanted, (1, fy, fx), strict=True)):
            return None
        return (1, fy, fx)

    def takes(self, kind: Kind) -> bool:
        """Can a model that was made for this learn from, and segment, data of that kind?"""
        return self.kind.channels == kind.channels and self.binning_of(kind.voxel_um) is not None
