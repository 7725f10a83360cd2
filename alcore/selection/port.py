"""The port that every selection strategy implements: a pool and a request in, one patch after the other out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from alcore.types import PoolPosition

if TYPE_CHECKING:
    from alcore.coreset import Frontier
    from alcore.selection.spread import Room
    from alcore.selection.usual import Usual

Float32 = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

TRAITS = (
    "foreground",
    "border",
    "n_objects",
    "confidence",
    "sharpness",
    "contrast",
    "clipped",
    "blank",
    "entropy_bg",
    "entropy_fg",
)
"""What may be known of a patch besides its embedding: the stages traits and predict say what each is."""


@dataclass(frozen=True)
class Pool:
    """All patches of one encoder; row i of every array is pool position i.

    embeddings: (N, D) float32 unit rows. volume: (N,) int, equal for patches of one volume. start, shape: (N, 3) int,
    the boxes (z, y, x) in voxels. traits: (N,) float32 by name, NaN = unknown; names of `TRAITS` that are not given are
    unknown everywhere. flat: (N,) bool, patches whose content has no direction (constant or not finite). frontier: the core-set
    with these positions covered and so many picks ahead, where the process keeps one from job to job. worth: (N,) float32 in 0..1,
    by which what is expected in each patch counts (see `alcore.selection.steering.dulled`); 1 everywhere for None. usual: what is
    usual in each volume, whose numbers are then 0, 1, 2 and so on; reckoned from the patches for None.
    Raises ValueError naming the array whose length is another.
    """

    embeddings: Float32
    volume: Positions
    start: Positions
    shape: Positions
    traits: Mapping[str, Float32] = field(default_factory=dict)
    flat: Mask | None = None
    frontier: Callable[[Sequence[PoolPosition], int], Frontier] | None = None
    worth: Float32 | None = None
    usual: Usual | None = None

    def __post_init__(self) -> None:
        n = len(self.embeddings)
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float32:
            raise ValueError(f"embeddings must be (N, D) float32, got {self.embeddings.shape} {self.embeddings.dtype}")
        wanted = {"volume": (n,), "start": (n, 3), "shape": (n, 3)} | dict.fromkeys(self.traits, (n,))
        given: dict[str, npt.NDArray[Any]] = {"volume": self.volume, "start": self.start, "shape": self.shape} | dict(
            self.traits
        )
        if self.flat is not None:
            wanted["flat"], given["flat"] = (n,), self.flat
        for name, array in given.items():
            if array.shape != wanted[name]:
                raise ValueError(f"{name} has shape {array.shape}, the pool has {n} patches: expected {wanted[name]}")
        if unknown := set(self.traits) - set(TRAITS):
            raise ValueError(f"traits {sorted(unknown)} do not exist; known: {', '.join(TRAITS)}")

    def __len__(self) -> int:
        return len(self.embeddings)

    def trait(self, name: str, positions: Positions | None = None) -> Float32:
        """One trait of these positions (of all by default), float32, NaN where it is unknown; infinities count as unknown."""
        if name not in TRAITS:
            raise ValueError(f"trait {name!r} does not exist; known: {', '.join(TRAITS)}")
        if name not in self.traits:
            return np.full(len(self) if positions is None else len(positions), np.nan, np.float32)
        values = self.traits[name] if positions is None else self.traits[name][positions]
        found: Float32 = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
        return found

    def figure(self, name: str, position: int) -> float:
        """One trait of one patch, NaN where it is unknown."""
        return float(self.trait(name, np.array([position]))[0])


@dataclass(frozen=True)
class Request:
    """What is asked for.

    n: patches wanted. covered: positions that were ever suggested, never suggested again. labelled: those of them with an
    accepted label. initial: random seeds of the core-set while nothing is covered. n_before: suggestions ever made.
    control_share: share of the suggestions that is drawn at random. volume_share: most that one volume may have of the
    answer. minutes_base, minutes_per_object: what a person needs for a patch. n_gated: labels behind the model whose
    predictions the traits come from, 0 when there is no gated model. seed: the same request gives the same answer.
    avoid: those of the covered that a person skipped as an artefact or out of focus. nothing: those skipped because there is
    nothing in them to label.
    """

    n: int
    covered: Positions
    labelled: Positions
    seed: int
    initial: int = 3
    n_before: int = 0
    control_share: float = 0.0
    volume_share: float = 1.0
    minutes_base: float = 1.0
    minutes_per_object: float = 0.0
    n_gated: int = 0
    avoid: Positions = field(default_factory=lambda: np.empty(0, np.int64))
    nothing: Positions = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Choice:
    """One chosen patch. arm: "selected" by the strategy, or "control". reason: one sentence for people, without the
    distance. why: the numbers behind it by name. random: not decided by any property of the patch. distance, nearest:
    cosine distance to the nearest covered or earlier chosen patch, and which; None when there was none."""

    position: PoolPosition
    arm: str
    reason: str
    why: Mapping[str, float]
    random: bool = False
    distance: float | None = None
    nearest: PoolPosition | None = None


@dataclass(frozen=True)
class Flaw:
    """A patch for the QC list. score: how far beyond the rule's limit, larger is worse. sure: a fact, not a judgement."""

    position: PoolPosition
    reason: str
    score: float
    sure: bool = False


class Strategy(Protocol):
    """Yields choices among `room.free`, the best first, and goes on for ever while there are any.

    Whoever asks takes each choice out of the room (`Room.take`) before asking for the next, and may take others in
    between; `room.taken` tells. Random numbers come from `rng` alone.
    """

    def __call__(self, pool: Pool, request: Request, room: Room, rng: np.random.Generator) -> Iterator[Choice]:
        """Choices in order."""


def spread_evenly(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Ranks of `values` in 0..1, equal values sharing their mean rank, so that no scale has to be known.

    NaN (unknown) counts as the middle, 0.5; a single value too.
    """
    from scipy.stats import rankdata

    out = np.full(len(values), 0.5)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) > 1:
        out[known] = (rankdata(values[known]) - 1) / (len(known) - 1)
    return out
