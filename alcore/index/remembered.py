"""The pool index that a process has loaded, kept for its next job: a load reads and verifies all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alcore.index.pool import PoolIndex


@dataclass
class Remembered:
    """One index, or none. Whoever takes it has it alone, and gives back what is as on the disk."""

    index: PoolIndex | None = None

    def take(self, directory: Path, encoder: str, dim: int, device: str) -> tuple[PoolIndex, str]:
        """The index of this encoder in `directory`, and what is to be said of it; see `PoolIndex.load`."""
        index, self.index = self.index, None
        if index is not None and index.is_in(directory) and index.encoder == encoder and index.device == device:
            return index, ""
        return PoolIndex.load(directory, encoder, dim, device)

    def keep(self, index: PoolIndex) -> None:
        """For the next one. It has to be as it is on the disk."""
        self.index = index


_known: dict[Path, Remembered] = {}


def remembered(directory: Path) -> Remembered:
    """What this process remembers of the index in `directory`."""
    return _known.setdefault(directory, Remembered())
