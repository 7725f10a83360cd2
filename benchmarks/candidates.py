"""Pairs of models, one in use and one that wants its place, on real label volumes: what they did on every patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from alcore.arrays.matching import Counts, count
from alcore.arrays.tiling import tile
from alcore.types import Scores
from benchmarks.damage import Faults, Truth

IN_USE = Faults(missed=0.2, merged=0.1, invented=0.15, shrunk=0.8, uneven=0.8)
"""The model that a candidate is compared with."""


@dataclass(frozen=True)
class Volume:
    """A label volume. every: of its rows and columns, one in so many is used. patch_px: extent of a held-out patch after that."""

    name: str
    every: int
    patch_px: tuple[int, int, int]


VOLUMES = (
    Volume("sbem_mito_z010-039", 2, (15, 64, 64)),
    Volume("ovule_nuclei_1135", 1, (25, 34, 34)),
    Volume("ovule_cells", 1, (16, 32, 32)),
    Volume("fib_gala_train", 1, (17, 34, 34)),
)


@dataclass(frozen=True)
class Pair:
    """What a candidate and the model in use did on every patch of one volume."""

    volume: str
    kind: str
    repeat: int
    candidate: tuple[Counts, ...]
    current: tuple[Counts, ...]

    @property
    def true_dice(self) -> float:
        """Candidate minus current, over all patches there are."""
        return _pooled(self.candidate).dice - _pooled(self.current).dice

    @property
    def true_f1(self) -> float:
        """Candidate minus current, over all patches there are."""
        return _pooled(self.candidate).f1 - _pooled(self.current).f1


def _pooled(counts: Sequence[Counts]) -> Scores:
    return sum(counts, Counts()).scores()


def kinds(now: Faults) -> dict[str, Faults]:
    """Candidates by what is different about them."""
    found = {"the same": now}
    for share in (0.1, 0.2, 0.3, 0.5):
        found[f"{share:.0%} of objects lost"] = replace(now, missed=now.missed + share * (1 - now.missed))
        found[f"{share:.0%} of labels flipped"] = replace(
            now, missed=now.missed + share * (1 - now.missed), invented=now.invented + share
        )
        found[f"{share:.0%} merged"] = replace(now, merged=now.merged + share)
    for px in (0.3, 0.6, 1.0, 2.0):
        found[f"outlines {px} px too tight"] = replace(now, shrunk=now.shrunk + px)
    for px in (1, 2, 4):
        found[f"shifted {px} px"] = replace(now, shift_px=px)
    found["wrong scale"] = replace(now, shrunk=now.shrunk + 1.0, uneven=now.uneven * 2, missed=now.missed + 0.1)
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        found[f"{share:.0%} of faults gone"] = Faults(
            *(v * (1 - share) for v in (now.missed, now.merged, now.invented, now.shrunk, now.uneven))
        )
    found["finds more"] = replace(now, missed=now.missed / 4)
    found["sharper outlines"] = replace(now, shrunk=0.0, uneven=0.3)
    return found


class Sight:
    """What models see of one label volume, patch by patch."""

    def __init__(self, volume: Volume, data: Path, rng: np.random.Generator) -> None:
        labels = tifffile.imread(data / volume.name / "labels.tif")[:, :: volume.every, :: volume.every]
        self.truth = Truth(labels, rng)
        self.boxes = tile(self.truth.labels.shape, volume.patch_px)

    def counts(self, faults: Faults, rng: np.random.Generator) -> tuple[Counts, ...]:
        """What a model with these faults does on every patch."""
        found, true = self.truth.segment(faults, rng), self.truth.labels
        return tuple(count(found[b.slices], true[b.slices]) for b in self.boxes)


def pairs(data: Path, seed: int, repeats: int, volumes: Sequence[Volume] = VOLUMES) -> Iterator[Pair]:
    """Every kind of candidate on every volume, `repeats` times."""
    for v, volume in enumerate(volumes):
        sight = Sight(volume, data, np.random.default_rng([seed, v]))
        for r in range(repeats):
            current = sight.counts(IN_USE, np.random.default_rng([seed, v, r]))
            for k, (kind, faults) in enumerate(kinds(IN_USE).items()):
                candidate = sight.counts(faults, np.random.default_rng([seed, v, r, k + 1]))
                yield Pair(volume.name, kind, r, candidate, current)
