"""Does pre-training on pseudo-labels pay on real mitochondria, at the lengths that a CPU has by default?

    python -m benchmarks.pretraining [--seeds 3] [--labels 4 8]

One part of the volume is the pool, another the test region, a strip between them is not used; which side is tested alternates
with the seed. The pool is pseudo-labelled by the threshold backend. Each seed draws patches whose true labels are given. Trained
on these: from scratch, as long as a fine-tuning is; from scratch, as long as pre-training and fine-tuning together; and
fine-tuned from a model that was pre-trained on the pseudo-labels, a fifth of them mixed in. Prints scores on the test region,
means over seeds, and the paired differences with the least and the largest of any seed: so few seeds bear no interval.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from alcore.arrays import matching, normalise
from alcore.arrays.tiling import tile
from alcore.nnunet import model, sources, training
from alcore.nnunet.case import Arrays, Case
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.schedule import Schedule
from alcore.run import QuietContext
from alcore.simulation.table import markdown
from alcore.stage import Input
from alcore.stages import predict, pseudo
from alcore.types import Box, VolumeInfo
from benchmarks.labelled_pools import data_folder

VOLUME, PATCH_PX, VOXEL_UM = "sbem_mito_z010-039", (15, 128, 128), (0.04, 0.0059, 0.0059)
READ = {"axes": "ZYX"}
POOL_PX, GAP_PX = 640, 64
"""Columns of the pool, and of the strip between it and the test region."""
LEAST_FOREGROUND = 0.02
"""Of a patch that an expert is given: an empty one teaches nothing."""
PRETRAIN = Schedule(epochs=12, iterations=25, lr=3e-3)
FINETUNE = Schedule(epochs=20, iterations=25, lr=2e-3)
"""As `daemon.policy.SCHEDULE_DEFAULTS` has them for the tiny plan."""
MIX_PATCHES, MIX_SHARE = 16, 0.2
ARMS = ("from scratch", "from scratch, as long as both", "pre-trained only", "pre-trained and fine-tuned")


class Side:
    """The volume with its test region on one side: its pool as a volume artifact with pseudo-labels, and its truth."""

    def __init__(self, root: Path, test_left: bool) -> None:
        self.root = root
        image = tifffile.imread(data_folder() / VOLUME / "image.tif")
        truth = tifffile.imread(data_folder() / VOLUME / "labels.tif").astype(np.uint32)
        width = image.shape[2]
        pool = slice(width - POOL_PX, width) if test_left else slice(0, POOL_PX)
        test = slice(0, width - POOL_PX - GAP_PX) if test_left else slice(POOL_PX + GAP_PX, width)
        self.pool = self._volume("pool", image[:, :, pool])
        self.test = self._volume("test", image[:, :, test])
        self.pool_truth, self.test_truth = truth[:, :, pool], truth[:, :, test]
        self.boxes = tile(self.pool_truth.shape, PATCH_PX)
        made = self._folder("pseudo")
        ctx = QuietContext(self._folder("pseudo-scratch"), root / "cache")
        pseudo.run(self.pool, {"read": READ, "backend": "threshold", "options": {}}, made, ctx)
        self.pseudo = Input(made, "pseudo")

    def _folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def _volume(self, name: str, image: np.ndarray) -> dict[str, list[Input]]:
        folder = self._folder(name)
        tifffile.imwrite(folder / "image.tif", image)
        stats = normalise.measure(image[None], np.random.default_rng(0))
        info = VolumeInfo("0" * 64, (1, *image.shape), str(image.dtype), VOXEL_UM, "file", stats)
        (folder / "info.json").write_text(json.dumps(info.to_json()))
        (folder / "patches.json").write_text(json.dumps([Box((0, 0, 0), info.zyx).to_json()]))
        return {"volume": [Input(folder, name)], "source": [Input(folder / "image.tif", f"{name} image")]}

    def pseudo_cases(self, boxes: list[Box]) -> list[Case]:
        """These patches with their pseudo-labels."""
        patches = [{"volume": 0, **box.to_json()} for box in boxes]
        return sources.pseudo_cases(self.pool["volume"], self.pool["source"], [self.pseudo], [READ], patches)

    def labelled(self, box: Box) -> Case:
        """A patch with its true labels."""
        (blank,) = self.pseudo_cases([box])

        def load() -> Arrays:
            return blank.load()[0], self.pool_truth[box.slices]

        return Case(f"{self.root.name} truth {box}", VOXEL_UM, load)

    def chosen(self, n: int, rng: np.random.Generator) -> list[Box]:
        """Patches that an expert labels."""
        rich = [b for b in self.boxes if (self.pool_truth[b.slices] > 0).mean() > LEAST_FOREGROUND]
        return [rich[int(i)] for i in rng.permutation(len(rich))[:n]]

    def train(
        self, name: str, mixture: training.Mixture, schedule: Schedule, seed: int, start: Path | None = None
    ) -> Path:
        """A model directory."""
        ctx = QuietContext(self._folder(f"{name} scratch"), self.root / "cache")
        designed = model.load_design(start) if start else training.design(PlanRequest("tiny"), mixture.cases, ctx)
        out = self._folder(f"{name} model")
        training.train(designed, mixture, schedule, seed, start, out, ctx, {"kind": "benchmark"})
        return out

    def scores(self, made: Path) -> tuple[float, float]:
        """F1 and Dice on the test region."""
        out = self._folder(f"{made.name} on test")
        ctx = QuietContext(self._folder(f"{made.name} test scratch"), self.root / "cache")
        inputs = {"model": [Input(made, made.name)], **self.test}
        predict.run(inputs, {"read": READ, "version": "benchmark"}, out, ctx)
        found = matching.count(tifffile.imread(out / "instances.tif").astype(np.uint32), self.test_truth).scores()
        return found.f1, found.dice

    def arms(self, seed: int, budgets: list[int]) -> Iterator[tuple[str, int, tuple[float, float]]]:
        """(arm, number of labels, scores), one after the other."""
        rng = np.random.default_rng(seed)
        order = self.chosen(max(budgets), rng)
        pretrained = self.train(f"{seed} M_p", training.Mixture(self.pseudo_cases(self.boxes)), PRETRAIN, seed)
        learned = self.scores(pretrained)
        both = replace(FINETUNE, epochs=FINETUNE.epochs + PRETRAIN.epochs)
        for n in budgets:
            labels = [self.labelled(box) for box in order[:n]]
            others = [b for b in self.boxes if b not in order[:n]]
            mix = [others[int(i)] for i in rng.permutation(len(others))[:MIX_PATCHES]]
            mixed = training.Mixture(labels, self.pseudo_cases(mix), MIX_SHARE)
            yield ARMS[2], n, learned
            yield ARMS[3], n, self.scores(self.train(f"{seed} {n} M_f", mixed, FINETUNE, seed, pretrained))
            yield ARMS[0], n, self.scores(self.train(f"{seed} {n} short", training.Mixture(labels), FINETUNE, seed))
            yield ARMS[1], n, self.scores(self.train(f"{seed} {n} long", training.Mixture(labels), both, seed))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[4])
    args = parser.parse_args()
    scores: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(Path(folder) / name, name == "left") for name in ("right", "left")]
        for seed in range(args.seeds):
            began = time.monotonic()
            for arm, n, found in sides[seed % 2].arms(seed, args.labels):
                scores[arm, n].append(found)
                print(seed, arm, n, *(f"{value:.3f}" for value in found), flush=True)
            print(f"seed {seed} took {time.monotonic() - began:.0f} s", flush=True)
    rows = []
    for n in args.labels:
        for arm in ARMS:
            both = np.array(scores[arm, n])
            difference = np.array(scores[ARMS[3], n]) - both
            told = ["", ""]
            if arm != ARMS[3]:
                told = [f"{d.mean():+.3f} ({d.min():+.3f} to {d.max():+.3f})" for d in difference.T]
            rows.append([str(n), arm, *(f"{value:.3f}" for value in both.mean(0)), *told])
    head = ["labels", "model", "F1", "Dice", "pre-trained and fine-tuned is better by, F1", "Dice"]
    print(markdown(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
