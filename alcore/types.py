"""The frozen nouns that every floor shares. Lengths carry their unit in the name; axes are always Z, Y, X (C first when present)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NewType

PatchId = NewType("PatchId", int)
"""Identity of a Patch: stable for ever, the row in the database."""

PoolPosition = NewType("PoolPosition", int)
"""Row of an embedding in the pool matrix: valid for one pool only. Never a PatchId."""

VoxelSize = tuple[float, float, float]
"""Voxel edge lengths (z, y, x) in um."""


@dataclass(frozen=True, order=True)
class Box:
    """A box in a Volume: first voxel and extent, both (z, y, x) in voxels."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def stop(self) -> tuple[int, int, int]:
        """One past the last voxel, (z, y, x)."""
        (a, b, c), (d, e, f) = self.start, self.shape
        return (a + d, b + e, c + f)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index expression for a (Z, Y, X) array."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return (slice(a, d), slice(b, e), slice(c, f))

    @property
    def voxels(self) -> int:
        """Number of voxels in the box."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def overlaps(self, other: Box) -> bool:
        """True when the two boxes of one volume share at least one voxel."""
        return all(a < d and c < b for a, b, c, d in zip(self.start, self.stop, other.start, other.stop, strict=True))

    def to_json(self) -> dict[str, list[int]]:
        """Plain lists, for manifests and JSON columns."""
        return {"start": list(self.start), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Box:
        """Inverse of `to_json`."""
        z, y, x = (int(v) for v in value["start"])
        d, h, w = (int(v) for v in value["shape"])
        return cls((z, y, x), (d, h, w))


@dataclass(frozen=True)
class IntensityStats:
    """Whole-volume statistics of one channel, computed while its bytes were hashed.

    They are the fixed normalisation constants of everything downstream, so that a patch and its volume see the same
    numbers (facts/nnunet: per-image z-scores differ between a patch and the volume it came from).
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class VolumeInfo:
    """What is known of a Volume without reading its voxels again.

    shape: (C, Z, Y, X). voxel_um: (z, y, x) um or None when nobody knows; voxel_source: "file", "config" or "unknown".
    """

    sha256: str
    shape: tuple[int, int, int, int]
    dtype: str
    voxel_um: VoxelSize | None
    voxel_source: str
    stats: tuple[IntensityStats, ...]

    @property
    def zyx(self) -> tuple[int, int, int]:
        """Spatial extent (Z, Y, X) in voxels."""
        return self.shape[1:]

    @property
    def spacing(self) -> VoxelSize:
        """Relative voxel size for algorithms that only need ratios: the physical one, or an isotropic grid if unknown."""
        return self.voxel_um if self.voxel_um is not None else (1.0, 1.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VolumeInfo:
        """Inverse of `to_json`."""
        voxel = value["voxel_um"]
        c, z, y, x = (int(v) for v in value["shape"])
        return cls(
            sha256=str(value["sha256"]),
            shape=(c, z, y, x),
            dtype=str(value["dtype"]),
            voxel_um=None if voxel is None else (float(voxel[0]), float(voxel[1]), float(voxel[2])),
            voxel_source=str(value["voxel_source"]),
            stats=tuple(IntensityStats(**s) for s in value["stats"]),
        )


@dataclass(frozen=True)
class Scores:
    """Instance scores at one IoU threshold, as in Zhao et al. 2025, Sec. 3 (F1, accuracy, precision) plus recall, PQ and Dice.

    ap75: average precision at IoU 0.75, which without an order of the objects by confidence is the accuracy there.
    """

    f1: float
    accuracy: float
    precision: float
    recall: float
    panoptic: float
    dice: float
    ap75: float
    n_true: int
    n_predicted: int
    n_matched: int

    def to_json(self) -> dict[str, float | int]:
        """Plain JSON types."""
        return asdict(self)
