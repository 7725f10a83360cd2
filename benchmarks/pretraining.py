"""Does pre-training on pseudo-labels pay on real mitochondria, at the lengths that a CPU has by default?

    python -m benchmarks.pretraining --out FOLDER [--seeds 3] [--labels 0,3,6,12,24]

nnU-Net, trained on labels drawn at random and by the core-set: fine-tuned from a model that was pre-trained on the pseudo-labels of
the pool, a fifth of them mixed in; and from scratch, for as long as pre-training and fine-tuning together. Played by
`alcore.simulation` (see there for test regions and gaps), so a killed run goes on. Prints the table of both starts (Tab. 2 of
Zhao et al. 2025); the others lie in FOLDER.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alcore.simulation.engine import Engine, Progress
from alcore.simulation.worker import Run
from benchmarks.labelled_pools import IMAGES, named
from benchmarks.strategies import DEFAULT
from daemon.policy import SCHEDULE_DEFAULTS

POOL = "sbem-128"
PLAN = {"name": "tiny", "binning": [1, 4, 4]}
"""Binning is fixed: by rule it depends on the objects that a model first saw, and both starts would differ by that too."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", default="0,3,6,12,24", help="numbers of labels; all of 48 are played too")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    schedules = {what: dict(SCHEDULE_DEFAULTS["tiny", what]) for what in ("pretrain", "finetune")}
    budgets = tuple(int(n) for n in args.labels.split(","))
    settings = IMAGES[POOL].settings(budgets=budgets, training={"plan": PLAN, **schedules})
    pair, seeds = named(IMAGES[POOL], POOL), tuple(range(args.seeds))
    run = Run((pair,), settings, ("random", "coreset"), (False, True), seeds, "nnunet", args.out.absolute())

    def tell(progress: Progress) -> None:
        left = "" if progress.left_s is None else f", {progress.left_s / 60:.0f} min left"
        print(f"\r{progress.done} of {progress.total} cells{left}: {progress.doing}\x1b[K", end="", file=sys.stderr)

    outcome = Engine(run, args.workers, tell, DEFAULT).play()
    print(file=sys.stderr)
    for part in outcome.shown:
        print(*(table.markdown() for table in part.tables if table.name.startswith("table2")), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
