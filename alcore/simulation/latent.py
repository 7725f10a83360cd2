"""Embeddings and picks of a run as its files hold them (latent.npz, picks.csv)."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alcore.errors import PermanentError

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Latent:
    """A pool's patches. vectors (N, D) unit vectors; start, shape (N, 3) voxels z, y, x; foreground (N,) true share 0..1;
    regions (splits, 2, 3) start and shape of the test regions."""

    pool: str
    vectors: Floats
    start: Whole
    shape: Whole
    foreground: Floats
    regions: Whole

    def tested(self, split: int) -> npt.NDArray[np.bool_]:
        """(N,) patches that lie in a test region, in part or as a whole."""
        low, size = self.regions[split]
        found: npt.NDArray[np.bool_] = ((self.start < low + size) & (self.start + self.shape > low)).all(1)
        return found


@dataclass(frozen=True, order=True)
class Pick:
    """A labelled patch. order: from 1. patch: row of the pool's arrays."""

    pool: str
    split: int
    seed: int
    strategy: str
    pretrained: int
    learner: str
    order: int
    patch: int


def read_latent(path: Path) -> list[Latent]:
    """All pools. Raises PermanentError for a file that cannot be read or does not fit together."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = [
                Latent(
                    str(name),
                    *(file[f"{array}_{n}"] for array in ("embeddings", "start", "shape", "foreground", "region")),
                )
                for n, name in enumerate(file["pools"])
            ]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise PermanentError(
            f"{path}: no readable embeddings of a simulation ({e}); play it again and it is made anew"
        ) from e
    for pool in found:
        n = len(pool.vectors)
        if pool.start.shape != (n, 3) or pool.shape.shape != (n, 3) or pool.foreground.shape != (n,):
            raise PermanentError(f"{path}: arrays of {pool.pool} do not fit its {n} embeddings; play it again")
    return found


def read_picks(path: Path) -> list[Pick]:
    """All picks, sorted. Raises PermanentError naming the line that is none."""
    names = ("pool", "split", "seed", "strategy", "pretrained", "learner", "order", "patch")
    found = []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for number, line in enumerate(csv.DictReader(file), 2):
                try:
                    values = [line[n] if n in ("pool", "strategy", "learner") else int(line[n]) for n in names]
                except (KeyError, TypeError, ValueError) as e:
                    raise PermanentError(f"{path}, line {number}: is no pick ({e}); play the simulation again") from e
                found.append(Pick(*values))  # type: ignore[arg-type]
    except (OSError, UnicodeDecodeError) as e:
        raise PermanentError(f"{path}: cannot be read ({e})") from e
    return sorted(found)


def ordered(picks: Sequence[Pick], like: Pick) -> list[int]:
    """Patches of one curve, in the order in which they were labelled."""
    key = (like.pool, like.split, like.seed, like.strategy, like.pretrained, like.learner)
    same = [p for p in picks if (p.pool, p.split, p.seed, p.strategy, p.pretrained, p.learner) == key]
    return [p.patch for p in sorted(same, key=lambda p: p.order)]
