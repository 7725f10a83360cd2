"""What a simulation is: how images are cut, who labels, what learns. Everything that shapes a score, and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from alcore.artifact import canonical_json
from alcore.errors import PermanentError

VERSION = 1
"""Raised when the same settings would give other scores: cells of an earlier version are played again."""

LEARNERS = ("fast", "nnunet")
NOTHING_TO_CHOOSE = "without a label, and with all of them, a strategy has nothing to choose"


@dataclass(frozen=True)
class ExpertSettings:
    """How well and how fast the simulated expert works.

    missed: chance of an object to be left out. label_noise: chance, per object, that a false one of its shape is drawn where
    nothing is. boundary_jitter_px: standard deviation, in voxels in the plane, of where a boundary is drawn.
    minutes_base, minutes_per_object: of a patch, and of each object drawn in it.
    """

    missed: float = 0.0
    label_noise: float = 0.0
    boundary_jitter_px: float = 0.0
    minutes_base: float = 1.0
    minutes_per_object: float = 0.25

    def __post_init__(self) -> None:
        for name in ("missed", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise PermanentError(f"{_spelt(name)} is a chance: between 0 and 1, not {getattr(self, name)!r}")
        for name in ("boundary_jitter_px", "minutes_base", "minutes_per_object"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise PermanentError(f"{_spelt(name)} must be at least 0, not {getattr(self, name)!r}")

    @property
    def errs(self) -> bool:
        """Does a label ever differ from the truth?"""
        return bool(self.missed or self.label_noise or self.boundary_jitter_px)


@dataclass(frozen=True)
class Settings:
    """Of all cells of a run. Lengths are (z, y, x).

    patch_px: None = chosen from the volume (see `cutting.patch_for`). voxel_um: used when the file has none. read: read options
    of the images. axis: the one that test regions are cut along, 1 = Y, 2 = X, None = the longer. test_share: of the image,
    roughly, in one test region. gap_px: least distance of a pool patch to its test region along that axis, None = one patch.
    regions: most test regions that are played, None = all that fit. pool_size: patches in a seed's pool, None = see
    `cutting.pool_size`. budgets: numbers of labels, None = doubling steps (see `budgets_of`). encoder, pseudo: params of these
    stages without `read`. training: params of the nnU-Net stages (see `nnunet.Training`).
    """

    patch_px: tuple[int, int, int] | None = None
    voxel_um: tuple[float, float, float] | None = None
    read: Mapping[str, Any] = field(default_factory=dict)
    axis: int | None = None
    test_share: float = 0.25
    gap_px: int | None = None
    regions: int | None = None
    pool_size: int | None = None
    budgets: tuple[int, ...] | None = None
    expert: ExpertSettings = ExpertSettings()
    encoder: Mapping[str, Any] = field(
        default_factory=lambda: {
            "kind": "descriptor",
            "image_px": 64,
            "max_slices": 1024,
            "pooling": "mean",
            "seed": 0,
        }
    )
    pseudo: Mapping[str, Any] = field(default_factory=lambda: {"backend": "threshold", "options": {}})
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.axis not in (None, 1, 2):
            raise PermanentError(f"test regions are cut along Y or X, not along axis {self.axis}")
        if not 0 < self.test_share <= 0.5:
            raise PermanentError(f"--test-share must be above 0 and at most 0.5, not {self.test_share}")
        for name in ("gap_px", "regions", "pool_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PermanentError(f"{_spelt(name)} must be at least 1, not {value}")
        if self.patch_px is not None and min(self.patch_px) < 1:
            raise PermanentError(f"--patch must be three positive lengths (z, y, x), not {self.patch_px}")
        if self.voxel_um is not None and not (
            len(self.voxel_um) == 3 and all(math.isfinite(um) and um > 0 for um in self.voxel_um)
        ):
            raise PermanentError(
                f"--voxel-um must be three finite lengths above 0 in um (z, y, x), not {' '.join(map(str, self.voxel_um))}"
            )
        if self.budgets is not None and (
            len(set(self.budgets)) < len(self.budgets) or min(self.budgets, default=-1) < 0
        ):
            raise PermanentError(f"--budgets must be different numbers of labels from 0 on, not {self.budgets}")
        if self.budgets is not None and not any(self.budgets):
            raise PermanentError(
                f"--budgets {self.budgets[0]}: {NOTHING_TO_CHOOSE}; ask for more, as in --budgets 2,4,8"
            )
        if self.pool_size is not None:
            budgets_of(self, self.pool_size)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        """Inverse of `to_json`."""
        given = dict(value)
        for name in ("patch_px", "voxel_um", "budgets"):
            if given[name] is not None:
                given[name] = tuple(given[name])
        return cls(**given | {"expert": ExpertSettings(**given["expert"])})

    def digest(self, *more: Any) -> str:
        """A short name of everything that shapes the scores of one learner on one pool: equal settings, equal name."""
        shaping = self.to_json() | {"regions": None}  # how many regions are played changes no score
        return hashlib.sha256(canonical_json([VERSION, shaping, *more]).encode()).hexdigest()[:16]


def doubling(n_pool: int) -> tuple[int, ...]:
    """0 (pre-trained only), then halves of halves of the pool up to all of it, from at least 2 labels on."""
    steps = [n_pool]
    while steps[-1] // 2 >= 2:
        steps.append(steps[-1] // 2)
    return (0, *reversed(steps))


def budgets_of(settings: Settings, n_pool: int) -> tuple[int, ...]:
    """Numbers of labels, ascending, the last of them all. Raises PermanentError for more than there are, and where none lies
    between no label and all: there strategies have nothing to choose."""
    if settings.budgets is None:
        steps = doubling(n_pool)
        if not any(0 < n < n_pool for n in steps):
            raise PermanentError(
                f"--pool-size {n_pool}: {NOTHING_TO_CHOOSE}, and so small a pool has no step between; ask for at least 4"
            )
        return steps
    if max(settings.budgets) > n_pool:
        raise PermanentError(
            f"--budgets asks for {max(settings.budgets)} labels, but a pool has {n_pool} patches: ask for fewer, or cut "
            "smaller patches (--patch)"
        )
    if not any(0 < n < n_pool for n in settings.budgets):
        raise PermanentError(
            f"--budgets {','.join(map(str, settings.budgets))}: a pool has {n_pool} patches; {NOTHING_TO_CHOOSE}; ask for numbers "
            f"between 0 and {n_pool}"
        )
    return tuple(sorted({*settings.budgets, n_pool}))


def check_names(given: Sequence[str], known: Sequence[str], option: str) -> None:
    """Raises PermanentError for a name that does not exist, or no name at all."""
    if not given:
        raise PermanentError(f"{option} names nothing; known: {', '.join(known)}")
    for name in given:
        if name not in known:
            raise PermanentError(f"{option} {name!r} does not exist; known: {', '.join(known)}")


def _spelt(name: str) -> str:
    return "--" + name.removesuffix("_px").replace("_", "-")
