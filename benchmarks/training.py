"""Preparing and training against nnU-Net's own calls, on the same patches.

    python -m benchmarks.training [--patches 10 100] [--epochs 4]

Preparation is fingerprint, plan and preprocessing, of nnU-Net's default plan; then one more label joins, for which nnU-Net's
own calls prepare everything again. An epoch is the same network, batch, crops and iterations under our trainer and under plain
nnUNetTrainer. Each runs in a process of its own that has imported everything before it is timed; seconds of the processor,
children included, since other work may go on beside it. Prints the tables, and fails when a limit is not kept: a tenth of
nnU-Net's for the added label among the most patches, 1.0 for an epoch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore.arrays.synthetic import em_volume
from benchmarks.table import Row, show

SHAPE, VOXEL_UM = (16, 128, 128), (0.04, 0.02, 0.02)
DATASET = "Dataset001_bench"
ITERATIONS, VALIDATION = 20, 2
PEERS = ("ours", "theirs")
NNUNET = ("raw", "preprocessed", "results")


def write_patches(folder: Path, n: int) -> None:
    """Patch number 0..n-1 as nnU-Net wants its raw data, which our cases are read from as well."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        image, labels = em_volume(SHAPE, VOXEL_UM, np.random.default_rng(i))
        normalised = (image.astype(np.float32) - image.mean()) / image.std()
        tifffile.imwrite(folder / "imagesTr" / f"p{i:04d}_0000.tif", normalised, compression="zlib")
        tifffile.imwrite(folder / "labelsTr" / f"p{i:04d}.tif", (labels > 0).astype(np.uint8), compression="zlib")
        spacing = json.dumps({"spacing": list(VOXEL_UM)})
        for name in (f"imagesTr/p{i:04d}.json", f"labelsTr/p{i:04d}.json"):
            (folder / name).write_text(spacing)


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of the processor that it takes, in this process and in children that have ended."""
    before = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - before


def cases(raw: Path, n: int) -> list[Any]:
    """Our training cases of the first n patches."""
    from alcore.nnunet.case import Arrays, Case

    def case(i: int) -> Case:
        def load() -> Arrays:
            image = tifffile.imread(raw / "imagesTr" / f"p{i:04d}_0000.tif").astype(np.float32)
            return image[None], tifffile.imread(raw / "labelsTr" / f"p{i:04d}.tif").astype(np.uint32)

        return Case(f"patch {i}", VOXEL_UM, load)

    return [case(i) for i in range(n)]


# preparation


def prepare_ours(raw: Path, work: Path, n: int) -> dict[str, float]:
    """Seconds for n patches, and for one more."""
    from alcore.nnunet import preprocessing, training
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.plan import PlanRequest
    from alcore.run import QuietContext

    ctx = QuietContext(work / "scratch", work / "cache")
    ctx.scratch.mkdir(parents=True)
    found = cases(raw, n + 1)
    with nnunet_process(ctx.scratch, "cpu", 1):
        from alcore.nnunet import planning  # noqa: F401 - imported before anything is timed

    def first() -> None:
        designed.append(training.design(PlanRequest("default"), found[:n], ctx))
        with nnunet_process(ctx.scratch, "cpu", 1):
            preprocessing.prepare(found[:n], designed[0], ctx.cache, ctx.progress)

    def one_more() -> None:
        with nnunet_process(ctx.scratch, "cpu", 1):
            preprocessing.prepare(found, designed[0], ctx.cache, ctx.progress)

    designed: list[Any] = []
    return {"all": cpu_s(first), "added": cpu_s(one_more)}


def _their_folders(work: Path) -> Path:
    """Sets nnU-Net's variables; returns its raw dataset folder, which is empty."""
    for name in NNUNET:
        (work / name).mkdir(parents=True)
    os.environ |= {f"nnUNet_{name}": str(work / name) for name in NNUNET} | {"nnUNet_n_proc_DA": "1"}
    (work / "raw" / DATASET).mkdir()
    return work / "raw" / DATASET


def _dataset(folder: Path, raw: Path, n: int) -> None:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(exist_ok=True)
        for i in range(n):
            for path in (raw / name).glob(f"p{i:04d}*"):
                target = folder / name / path.name
                if not target.exists():
                    os.link(path, target)
    about = {"channel_names": {"0": "nonorm"}, "labels": {"background": 0, "object": 1}, "numTraining": n}
    (folder / "dataset.json").write_text(
        json.dumps(about | {"file_ending": ".tif", "overwrite_image_reader_writer": "Tiff3DIO"})
    )


def prepare_theirs(raw: Path, work: Path, n: int) -> dict[str, float]:
    """The same by nnU-Net's own calls, with as many processes as this machine has cores."""
    folder = _their_folders(work)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    n_processes = os.cpu_count() or 1

    def everything() -> None:
        extract_fingerprints([1], num_processes=n_processes, check_dataset_integrity=False, clean=True, verbose=False)
        plan_experiments([1])
        preprocess([1], configurations=("3d_fullres",), num_processes=(n_processes,), verbose=False)

    _dataset(folder, raw, n)
    first = cpu_s(everything)
    _dataset(folder, raw, n + 1)
    return {"all": first, "added": cpu_s(everything)}


# epochs


def _prepared(raw: Path, work: Path) -> tuple[Any, Path, list[str], Any]:
    """A tiny plan with its preprocessed cases: the same for both trainers."""
    from alcore.nnunet import preprocessing, training
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.plan import PlanRequest
    from alcore.run import QuietContext

    ctx = QuietContext(work / "scratch", work / "cache")
    ctx.scratch.mkdir(parents=True)
    found = cases(raw, 10)
    designed = training.design(PlanRequest("tiny"), found, ctx)
    with nnunet_process(ctx.scratch, "cpu", 1):
        folder, _ = preprocessing.prepare(found, designed, ctx.cache, ctx.progress)
    return designed, folder, [case.id for case in found], ctx


def epochs_ours(raw: Path, work: Path, n: int) -> dict[str, float]:
    """Median seconds of an epoch."""
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.remedies import Remedies
    from alcore.nnunet.schedule import Schedule

    designed, folder, ids, ctx = _prepared(raw, work)
    schedule = Schedule(n, ITERATIONS, 1e-2, optimizer="sgd", validation_iterations=VALIDATION)
    with nnunet_process(ctx.scratch, "cpu", 1):
        import torch

        from alcore.nnunet.trainer import Trainer

        trainer = Trainer(
            dict(designed.plans) | {"continue_training": False}, designed.configuration, "all", dict(designed.dataset),
            torch.device("cpu"),
        )  # fmt: skip
        trainer.configure(folder, ids, schedule, 1, Remedies(), ctx, ctx.scratch / "log", (0.0, 1.0))
        return {"epoch": _median_epoch(trainer)}


def epochs_theirs(raw: Path, work: Path, n: int) -> dict[str, float]:
    """The same under plain nnUNetTrainer, on the same preprocessed cases."""
    from alcore.nnunet.environment import nnunet_process

    designed, folder, ids, ctx = _prepared(raw, work)
    with nnunet_process(ctx.scratch, "cpu", 1):
        import torch
        from nnunetv2.paths import nnUNet_preprocessed
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        place = Path(nnUNet_preprocessed.require()) / designed.plans["dataset_name"]
        place.mkdir(parents=True, exist_ok=True)
        for name, value in (("dataset_fingerprint", designed.fingerprint), ("dataset", designed.dataset)):
            (place / f"{name}.json").write_text(json.dumps(value))
        (place / f"{designed.plans['plans_name']}.json").write_text(json.dumps(designed.plans))
        (place / "splits_final.json").write_text(json.dumps([{"train": ids, "val": ids}]))
        plans = dict(designed.plans) | {"continue_training": False}
        trainer = nnUNetTrainer(plans, designed.configuration, 0, dict(designed.dataset), torch.device("cpu"))
        trainer.preprocessed_dataset_folder = str(folder)
        trainer.num_epochs, trainer.num_iterations_per_epoch = n, ITERATIONS
        trainer.num_val_iterations_per_epoch = VALIDATION
        trainer.enable_deep_supervision = (
            designed.plans["configurations"][designed.configuration]["architecture"]["arch_kwargs"]["n_stages"] > 2
        )
        trainer.initialize()
        return {"epoch": _median_epoch(trainer)}


def _median_epoch(trainer: Any) -> float:
    """Processor seconds from the start of an epoch to the start of the next; the first one warms up."""
    moments: list[float] = []
    began = trainer.on_epoch_start

    def on_epoch_start() -> None:
        moments.append(time.process_time())
        began()

    trainer.on_epoch_start = on_epoch_start
    trainer.run_training()
    moments.append(time.process_time())
    return statistics.median(b - a for a, b in list(itertools.pairwise(moments))[1:])


TASKS = {
    "prepare ours": prepare_ours,
    "prepare theirs": prepare_theirs,
    "epochs ours": epochs_ours,
    "epochs theirs": epochs_theirs,
}


def measured(task: str, raw: Path, work: Path, n: int) -> dict[str, float]:
    """One task in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training", "--task", task, "--raw", str(raw)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--work", str(work), "--n", str(n)], stdout=subprocess.PIPE, env=environment, check=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--epochs", type=int, default=4)
    for name, kind in (("--task", str), ("--raw", Path), ("--work", Path), ("--n", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        result = TASKS[args.task](args.raw, args.work, args.n)
        print(json.dumps(result), flush=True)
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_patches(root / "raw", max(args.patches) + 1)
        for n in args.patches:
            ours, theirs = (measured(f"prepare {p}", root / "raw", root / f"{p} {n}", n) for p in PEERS)
            rows += [
                Row(f"{n} patches: prepare all, nnU-Net's own calls", theirs["all"], "cpu-s"),
                Row(f"{n} patches: prepare all", ours["all"], "cpu-s", theirs["all"]),
                Row(f"{n} patches and one more label, nnU-Net's own calls", theirs["added"], "cpu-s"),
                Row(f"{n} patches and one more label", ours["added"], "cpu-s", theirs["added"] / 10),
            ]
        ours, theirs = (measured(f"epochs {p}", root / "raw", root / f"epochs {p}", args.epochs) for p in PEERS)
        rows += [
            Row(f"epoch of {ITERATIONS} iterations, plain nnUNetTrainer", theirs["epoch"], "cpu-s"),
            Row(f"epoch of {ITERATIONS} iterations", ours["epoch"], "cpu-s", theirs["epoch"]),
        ]
    return show("preparing and training", rows)


if __name__ == "__main__":
    sys.exit(main())
