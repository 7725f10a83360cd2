"""The port that every pseudo-label backend implements: a volume in, instance ids written block by block, figures out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from alcore.stage import Context
from alcore.types import VolumeInfo
from alcore.volumes import VolumeReader


class LabelArray(Protocol):
    """What a backend writes to: a (Z, Y, X) uint32 array that is all zero at first (a zarr or a numpy array)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X)."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Store a block."""


@dataclass(frozen=True)
class PseudoLabels:
    """What a backend says about the instances 1..n that it wrote.

    confidence: one figure in 0..1 per instance, that of id i at position i - 1; comparable within one backend only.
    parameters: everything that was inferred or set, as plain JSON types. notes: what a person should know.
    """

    n_objects: int
    foreground_fraction: float
    confidence: tuple[float, ...]
    parameters: dict[str, Any]
    notes: tuple[str, ...] = ()


class PseudoLabeler(Protocol):
    """A backend with its options. The same volume and options give the same instances."""

    name: str
    version: int
    """Raised whenever the same volume and options would give other instances."""

    def label(self, volume: VolumeReader, info: VolumeInfo, labels: LabelArray, ctx: Context) -> PseudoLabels:
        """Write instance ids 1..n, every one of them used, 0 = background, for all of `volume` into `labels`.

        Works in blocks: memory does not grow with the volume. A volume in which nothing is found stays empty and a note
        says why; every other failure is raised. Reports progress, and raises Preempted soon after `ctx.should_stop()`,
        leaving finished blocks in `ctx.scratch`, from which the next call with the same arguments continues.
        """
