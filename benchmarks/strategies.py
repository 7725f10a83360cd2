"""Does selection pay? Strategies x numbers of labels x seeds x test regions with the fast learner, on labelled images.

`python -m benchmarks.strategies --pool sbem --out FOLDER [--encoder descriptor] [--seeds 10] [--strategies a,b]` plays what is not in
FOLDER yet, as `alscope simulate` does (it may be killed and goes on), and writes tables and pictures there. The same seeds give
the same tables. Prints the first of them, of areas, and the verdicts.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from alcore.simulation.engine import Engine, Progress
from alcore.simulation.worker import Run
from benchmarks.labelled_pools import IMAGES, named
from benchmarks.pool_embeddings import ENCODERS, params
from daemon.cli.simulate import STRATEGIES

DEFAULT = "guided"
"""The daemon's."""


def run_of(pool: str, encoder: str, strategies: tuple[str, ...], seeds: int, out: Path) -> Run:
    """Of one pool: pools are cut each in its own way."""
    image = IMAGES[pool]
    settings = image.settings(encoder=params(encoder))
    return Run((named(image, pool),), settings, strategies, (False,), tuple(range(seeds)), "fast", out)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="sbem", choices=IMAGES)
    parser.add_argument("--encoder", default="descriptor", choices=ENCODERS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    run = run_of(args.pool, args.encoder, tuple(args.strategies.split(",")), args.seeds, args.out.absolute())

    def tell(progress: Progress) -> None:
        left = "" if progress.left_s is None else f", {progress.left_s / 60:.0f} min left"
        print(f"\r{progress.done} of {progress.total} cells{left}: {progress.doing}\x1b[K", end="", file=sys.stderr)

    outcome = Engine(run, args.workers, tell, DEFAULT).play()
    print(file=sys.stderr)
    for part in outcome.shown:
        print(part.tables[0].markdown(), part.answer, *part.verdicts, sep="\n")
    print(args.out / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
