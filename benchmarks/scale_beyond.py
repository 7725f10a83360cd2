"""What choosing costs beyond a million patches, by simulation: `python -m benchmarks.scale_beyond [--patches 1000000,10000000,50000000]`.

The arrays of a pool of that size (boxes, figures, numbers) are real, in 20,000 volumes; its vectors are 200,000 real ones over and over,
so that no file of 38 GB is needed. Each size is a process of its own. What is on a disk at that size is reckoned: docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from alcore.selection import Pool, Request, choose
from alcore.selection.blocks import FIGURES, Block, joined
from benchmarks.ingest_once import peak_mb
from benchmarks.table import Row, show

VOLUMES, PAGES, DIM, BASE = 20_000, 80, 192, 200_000
GROUPS, INNER = 40, 8
COVERED = 500


class Repeated:
    """Vectors (n, D) of which row i is that of number i modulo the base."""

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, base: np.ndarray[Any, Any], n: int) -> None:
        self._base, self.shape = base, (n, base.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self._base[np.asarray(at, np.int64) % len(self._base)]
        return found


def vectors(rng: np.random.Generator) -> Repeated:
    """Kinds of tissue, each with a few directions in which patches of it differ; no two alike."""
    centres, directions = rng.normal(size=(GROUPS, DIM)), rng.normal(size=(GROUPS, INNER, DIM))
    group = rng.integers(GROUPS, size=BASE)
    rows = centres[group] + 0.05 * rng.normal(size=(BASE, DIM))
    rows += 0.3 * np.einsum("ni,nid->nd", rng.normal(size=(BASE, INNER)), directions[group])
    return Repeated((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), BASE)


def block(rng: np.random.Generator, first: int, n_volumes: int, per_volume: int) -> Block:
    """A page of volumes with so many patches each."""
    n = n_volumes * per_volume
    boxes = np.empty((n, 2, 3), np.int64)
    side = int(np.ceil(np.sqrt(per_volume)))
    at = np.tile(np.arange(per_volume), n_volumes)
    boxes[:, 0], boxes[:, 1] = np.stack([0 * at, 256 * (at // side), 256 * (at % side)], axis=1), (32, 256, 256)
    figures = rng.uniform(0.05, 0.3, (len(FIGURES), n)).astype(np.float32)
    rows = tuple({"embedding": f"embedding-{first + i}", "volume": f"volume-{first + i}"} for i in range(n_volumes))
    counts = np.full(n_volumes, per_volume, np.int64)
    return Block(
        rows, ("encoder",) * n_volumes, counts, np.zeros(n_volumes, bool), at, boxes, figures, np.zeros(n, bool)
    )


def measured(n: int) -> dict[str, float]:
    """Seconds and MB at one size."""
    rng = np.random.default_rng(0)
    per_page = VOLUMES // PAGES
    pages = [block(rng, i * per_page, per_page, n // VOLUMES) for i in range(PAGES)]
    known_mb = peak_mb()
    began = time.perf_counter()
    whole = joined(pages)
    found = {"joining the pages": time.perf_counter() - began}
    base = vectors(rng)
    pool = Pool(
        embeddings=Repeated(base._base, n),  # type: ignore[arg-type]
        volume=np.repeat(np.arange(VOLUMES), whole.n_vectors),
        start=whole.boxes[:, 0],
        shape=whole.boxes[:, 1],
        traits=dict(zip(FIGURES, whole.figures, strict=True)),
        flat=whole.flat,
    )
    covered = np.sort(rng.choice(n, COVERED, replace=False)).astype(np.int64)
    request = Request(n=8, covered=covered, labelled=covered[::2], seed=0, n_before=COVERED)
    choose(pool, request, "guided")
    began = time.perf_counter()
    choose(pool, request, "guided")
    found["choosing 8 (guided)"] = time.perf_counter() - began
    return found | {"what is known of the patches": known_mb, "peak": peak_mb()}


def main() -> int:
    """One size after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", default="1000000,10000000,50000000", help="sizes [default: %(default)s]")
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(measured(arguments.once)))
        return 0
    rows = []
    for n in map(int, arguments.patches.split(",")):
        command = [sys.executable, "-m", "benchmarks.scale_beyond", "--once", str(n)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        rows += [
            Row(f"{n:,} patches: {what}", value, "MB" if what in ("what is known of the patches", "peak") else "s")
            for what, value in found.items()
        ]
    return show("beyond a million", rows)


if __name__ == "__main__":
    sys.exit(main())
