"""The promotion rule on models that were really trained: tiny nnU-Nets on real mitochondria, some of them on damaged labels.

    python -m benchmarks.trained_candidates [--epochs 20] [--draws 200]

Every model is compared with the first, which is in use, on gates drawn from patches that none was trained on. Prints what each
truly is (its scores on all of these) and how often the rule promotes it, by size of the gate; and whether a model's own
confidence tells where it is right: the rank correlation of `predict`'s entropy with Dice over these patches.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy.stats import spearmanr

from alcore.arrays import matching, normalise
from alcore.arrays.matching import Counts
from alcore.arrays.tiling import tile
from alcore.nnunet import training
from alcore.nnunet.case import Arrays, Case
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.schedule import Schedule
from alcore.run import QuietContext
from alcore.simulation.table import markdown
from alcore.stage import Input
from alcore.stages import predict
from alcore.types import Box, VolumeInfo
from benchmarks.court import Case as Comparable
from benchmarks.labelled_pools import data_folder

VOLUME, PATCH_PX, VOXEL_UM = "sbem_mito_z010-039", (15, 128, 128), (0.04, 0.0059, 0.0059)
SIZES = (4, 8, 12, 24)


class Bench:
    """The volume, cut into patches; some to train on, the others held out."""

    def __init__(self, root: Path, n_train: int) -> None:
        self.root, self.data = root, data_folder() / VOLUME
        image = tifffile.imread(self.data / "image.tif")[None]
        self.truth = tifffile.imread(self.data / "labels.tif").astype(np.uint32)
        self.stats = normalise.measure(image, np.random.default_rng(0))
        self.image = image
        self.boxes = tile(self.truth.shape, PATCH_PX)
        foreground = np.array([(self.truth[b.slices] > 0).mean() for b in self.boxes])
        rich = np.flatnonzero(foreground > 0.02)
        self.train = [int(i) for i in np.random.default_rng(0).permutation(rich)[:n_train]]
        self.held_out = [i for i in range(len(self.boxes)) if i not in self.train]
        self.volume = root / "volume"
        self.volume.mkdir()
        info = VolumeInfo("0" * 64, (1, *self.truth.shape), "uint8", VOXEL_UM, "file", self.stats)
        (self.volume / "info.json").write_text(json.dumps(info.to_json()))
        (self.volume / "patches.json").write_text(json.dumps([b.to_json() for b in self.boxes]))

    def case(self, box: Box, lost: float) -> Case:
        """A training patch whose labels lack this share of the objects, and have as many that are none."""

        def load() -> Arrays:
            labels = self.truth[box.slices].copy()
            rng = np.random.default_rng([box.start[1], box.start[2]])
            ids = np.unique(labels[labels > 0])
            gone = ids[rng.random(len(ids)) < lost]
            shifted = np.roll(np.isin(labels, gone), (box.shape[1] // 2, box.shape[2] // 2), (1, 2))
            labels[np.isin(labels, gone)] = 0
            labels[shifted & (labels == 0)] = 1_000_000
            return normalise.fixed(self.image[(slice(None), *box.slices)], self.stats), labels

        return Case(f"{box} {lost}", VOXEL_UM, load)

    def model(
        self, name: str, n: int, epochs: int, lost: float, seed: int
    ) -> tuple[list[Counts], Mapping[str, object]]:
        """Train a model, segment the volume; what it did on the held-out patches, and what it says of itself there."""
        out, scratch, made = (self.root / f"{name}-{word}".replace(" ", "-") for word in ("model", "scratch", "made"))
        for folder in (out, scratch, made):
            folder.mkdir()
        ctx = QuietContext(scratch, self.root / "cache")
        cases = [self.case(self.boxes[i], lost) for i in self.train[:n]]
        designed = training.design(PlanRequest("tiny"), cases, ctx)
        schedule = Schedule(epochs=epochs, iterations=25, lr=2e-3)
        training.train(designed, training.Mixture(cases), schedule, seed, None, out, ctx, {"kind": "benchmark"})
        inputs = {"model": [Input(out, name)], "volume": [Input(self.volume, "v")]}
        inputs["source"] = [Input(self.data / "image.tif", "s")]
        result = predict.run(inputs, {"read": {}, "version": name}, made, ctx)
        found = tifffile.imread(made / "instances.tif").astype(np.uint32)
        boxes = [self.boxes[i] for i in self.held_out]
        counts = [matching.count(found[b.slices], self.truth[b.slices]) for b in boxes]
        unsure = np.load(made / "patches.npz")["entropy_fg"][self.held_out]
        return counts, {"confidence": result["confidence"], "rank": _rank(1 - unsure, counts)}


def _rank(confidence: npt.NDArray[np.float32], counts: list[Counts]) -> float:
    """Rank correlation of confidence with Dice over patches that hold objects and where some were found."""
    dice = np.array([c.scores().dice for c in counts])
    known = np.isfinite(confidence) & np.array([c.n_true > 0 for c in counts])
    return float(spearmanr(confidence[known], dice[known])[0])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    recipes = {  # training patches, epochs, share of labels flipped
        "in use": (4, args.epochs, 0.0),
        "the same, another seed": (4, args.epochs, 0.0),
        "a quarter of the training": (4, max(1, args.epochs // 4), 0.0),
        "30 % of labels flipped": (4, args.epochs, 0.3),
        "three times the labels": (12, args.epochs, 0.0),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), 12)
        current: list[Counts] = []
        for seed, (name, recipe) in enumerate(recipes.items()):
            counts, said = bench.model(name, *recipe, seed)
            current = current or counts
            mine, theirs = matching.pool(counts), matching.pool(current)
            case = Comparable(counts, current, ["v"] * len(counts), mine.dice - theirs.dice, mine.f1 - theirs.f1)
            rates = [case.promoted(n, args.draws, np.random.default_rng(n)) for n in SIZES] if seed else []
            figures = [f"{mine.f1:.3f}", f"{mine.dice:.3f}", f"{said['confidence']}", f"{said['rank']:.2f}"]
            rows.append([name, *figures, *(f"{r:.1f} %" for r in rates)])
            print(*rows[-1], flush=True)
    head = [
        "model",
        "F1",
        "Dice",
        "confidence",
        "its rank correlation with Dice",
        *(f"promoted, n = {n}" for n in SIZES),
    ]
    print(markdown(head, [[*row, *[""] * (len(head) - len(row))] for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
