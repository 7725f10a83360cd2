"""What a model that segments pictures has to offer so that whole volumes can be labelled with it, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError, TransientError
from alcore.pseudo import options as checks
from alcore.types import Box, VolumeInfo
from alcore.volumes import VolumeReader

Picture = npt.NDArray[np.float32]
Ids = npt.NDArray[np.uint32]


class DeviceMemoryError(TransientError):
    """The accelerator has no room for a window: a smaller one may fit."""

    kind = "device_memory"


@dataclass(frozen=True)
class Found:
    """Objects of one window. ids (Y, X) uint32 1..n, 0 = background; confidence (n,) float32 in 0..1, that of id i at i - 1."""

    ids: Ids
    confidence: npt.NDArray[np.float32]

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Found:
        """A window (Y, X) without objects."""
        return cls(np.zeros(shape[:2], np.uint32), np.zeros(0, np.float32))


class PlaneModel(Protocol):
    """A model on its device, ready to segment. The same picture gives the same objects."""

    name: str
    version: int
    window_px: int
    """Edge of the largest picture that it is shown at once."""

    def segment(self, picture: Picture) -> Found:
        """Objects of a picture (Y, X, C) in 0..1, which is not flat and has no NaN. Raises DeviceMemoryError."""

    def smaller(self) -> str | None:
        """Take less memory of the device from now on, with the same results; says how, or None when it cannot."""

    def seconds(self, height: int, width: int) -> float:
        """About how long one picture takes on one thread of a CPU."""

    def record(self) -> dict[str, Any]:
        """What it is, as plain JSON types: model, digest of the weights, thresholds."""


@dataclass(frozen=True)
class SliceOptions:
    """How a volume is cut into pictures, and pictures become objects; shared by all backends that segment slices.

    channels: up to three channels of the volume that the model sees, in its order; None takes the first that varies.
    window_px: edge of the largest picture, None leaves it to the model. overlap_px: overlap of neighbouring pictures of
    one slice. stitch_iou: objects of two pictures are one where they agree so well in their overlap. gap_closing: slices
    that an object may be missing in, 0 = none. min_z_extent: slices that an object must span. min_voxels: of an object.
    max_cpu_hours: a volume that would take longer on the CPU is refused.
    """

    channels: tuple[int, ...] | None = None
    window_px: int | None = None
    overlap_px: int = 128
    stitch_iou: float = 0.5
    gap_closing: int = 0
    min_z_extent: int = 0
    min_voxels: int = 1
    max_cpu_hours: float = 2.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that cannot be."""
        if self.channels is not None:
            if not isinstance(self.channels, (list, tuple)) or not 1 <= len(self.channels) <= 3:
                raise ValueError(f"option channels must list one to three channels, got {self.channels!r}")
            for channel in self.channels:
                checks.whole("channels", channel, 0, 1 << 16)
            object.__setattr__(self, "channels", tuple(self.channels))
        if self.window_px is not None:
            checks.whole("window_px", self.window_px, 32, 1 << 16)
        checks.whole("overlap_px", self.overlap_px, 0, 1 << 14)
        checks.number("stitch_iou", self.stitch_iou, 0.01, 1)
        checks.whole("gap_closing", self.gap_closing, 0, 16)
        checks.whole("min_z_extent", self.min_z_extent, 0, 1 << 16)
        checks.whole("min_voxels", self.min_voxels, 0, 1 << 48)
        checks.number("max_cpu_hours", self.max_cpu_hours, 0, 1e6)


def chosen_channels(info: VolumeInfo, wanted: Sequence[int] | None) -> tuple[tuple[int, ...], list[str]]:
    """Channels that the model sees (none where all are flat), and what there is to say about that.

    Raises PermanentError for one that the volume does not have.
    """
    if wanted is not None:
        for channel in wanted:
            if channel >= info.shape[0]:
                raise PermanentError(
                    f"option channels asks for {channel}, but the volume has {info.shape[0]} channel(s), from 0"
                )
        return tuple(wanted), []
    varied = [c for c, s in enumerate(info.stats) if s.std > 0]
    if not varied:
        return (), []
    note = f"{info.shape[0]} channels: only channel {varied[0]} was segmented; set option channels for others"
    return (varied[0],), [note] if info.shape[0] > 1 else []


def picture_of(volume: VolumeReader, info: VolumeInfo, channels: Sequence[int], window: Box) -> Picture | None:
    """One window (1, Y, X) of a volume as (Y, X, C) in 0..1 between the volume's own percentiles, or None where it is flat.

    NaN becomes the mean of the volume, so that it is no object of its own.
    """
    read = volume.read(window)
    out = np.empty((*window.shape[1:], len(channels)), np.float32)
    for k, channel in enumerate(channels):
        s = info.stats[channel]
        low, high = s.percentile_00_5, s.percentile_99_5
        if high <= low:
            low, high = s.minimum, s.maximum
        values = np.nan_to_num(read[channel, 0].astype(np.float64), nan=s.mean, posinf=high, neginf=low)
        out[..., k] = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    return out if np.ptp(out, axis=(0, 1)).max() > 0 else None
