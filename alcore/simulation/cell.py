"""A cell of the table: one point of one learning curve, the unit that is played and kept, as one file written at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alcore.artifact import write_atomic
from alcore.errors import PermanentError
from alcore.types import Scores

NONE, ALL = "none", "all"
"""Stand for the strategy where there is nothing to choose: no label at all, or every one. One cell serves all strategies."""


@dataclass(frozen=True, order=True)
class Cell:
    """Which point: pool (name of the image), split (number of its test region), seed, strategy, pretrained (does learning start
    from a model of the pseudo-labels?), learner, n (labels)."""

    pool: str
    split: int
    seed: int
    strategy: str
    pretrained: bool
    learner: str
    n: int

    def path(self, cells: Path) -> Path:
        """Its file."""
        start = "pretrained" if self.pretrained else "scratch"
        return cells / self.pool / f"{self.learner}-{start}-{self.strategy}-{self.split}-{self.seed}-{self.n}.json"

    def at(self, n: int, n_pool: int) -> Cell:
        """The cell that says how the same strategy does with n labels of a pool of `n_pool`."""
        strategy = NONE if n == 0 else ALL if n == n_pool else self.strategy
        return replace(self, n=n, strategy=strategy)


@dataclass(frozen=True)
class Played:
    """What came out. picks: patches (rows of the pool's list) in the order in which they were labelled, minutes of each.

    n_pool: patches in the pool. label_fraction: labelled share of its voxels. n_selected_objects: objects (pieces of them, where
    a patch cuts one) in the labels. radius, distance: largest and mean cosine distance of the pool's patches to the nearest
    labelled one, None without labels. foreground: true share in the labelled patches. seconds: what playing took.
    """

    cell: Cell
    scores: Scores
    n_pool: int
    label_fraction: float
    picks: tuple[int, ...]
    pick_minutes: tuple[float, ...]
    n_selected_objects: int
    radius: float | None
    distance: float | None
    foreground: float | None
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def minutes(self) -> float:
        """Of the expert, for all labels."""
        return float(sum(self.pick_minutes))

    def write(self, cells: Path) -> None:
        """Keep it: a reader, or a kill, sees the whole file or none."""
        path = self.cell.path(cells)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode())


def read(cell: Cell, cells: Path) -> Played | None:
    """What was played of a cell, None where nothing was. Raises PermanentError for a file that is none of ours."""
    path = cell.path(cells)
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        value["cell"] = Cell(**value["cell"])
        value["scores"] = Scores(**value["scores"])
        for name in ("picks", "pick_minutes", "notes"):
            value[name] = tuple(value[name])
        found = Played(**value)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PermanentError(f"{path}: not a readable cell ({e}); remove it and it is played again") from e
    if found.cell != cell:
        raise PermanentError(f"{path}: holds {found.cell}; remove it and the right one is played")
    return found


@dataclass(frozen=True)
class Curve:
    """The cells of one strategy from few labels to many: each step goes on from the one before. first: its first cell."""

    first: Cell
    budgets: tuple[int, ...]

    @property
    def cells(self) -> Iterator[Cell]:
        """Ascending."""
        return (replace(self.first, n=n) for n in self.budgets)
