"""nnU-Net as a learner: it is given pool patches only, in the daemon's own stages, and a killed training goes on."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.errors import PermanentError
from alcore.simulation.cutting import drawn_rows
from alcore.simulation.nnunet import NnunetLearner, Training
from alcore.simulation.pair import Pair
from alcore.simulation.pool import LabelledPool, Workshop
from alcore.simulation.settings import ExpertSettings, Settings
from alcore.stage import Input
from alcore.types import Box

ROOT = Path(__file__).resolve().parents[3]
TRAINING = {"plan": "tiny", "pretrain": {"epochs": 2, "iterations": 2}, "finetune": {"epochs": 3, "iterations": 2}}
SETTINGS = Settings(patch_px=(6, 20, 20), training=TRAINING)


@dataclass(frozen=True)
class Listening(Workshop):
    """A workshop that notes what it is asked to train, and trains nothing."""

    asked: list[tuple[str, Mapping[str, list[Input]], Mapping[str, Any]]] = field(default_factory=list)

    def made(self, name: str, inputs: Mapping[str, list[Input]], params: Mapping[str, Any]) -> Input:
        """The artifact, or a name in its place where it is a model."""
        if name not in ("pretrain", "finetune"):
            return super().made(name, inputs, params)
        self.asked.append((name, inputs, params))
        return Input(self.folder / name, f"{name}-{len(self.asked)}")


def test_training_is_given_patches_of_the_pool_alone(tissue: Pair, tmp_path: Path) -> None:
    shop = Listening(tmp_path)
    pool = LabelledPool(tissue, SETTINGS, shop)
    region = pool.splits[1].region
    rows = drawn_rows(pool.splits[1], 1, 5, pool.size)
    learner = NnunetLearner(pool, 1, 5, rows)
    learner.learn(np.empty(0, np.int64), True)
    fine = learner.learn(rows[:4], True)
    learner.learn(rows[:4], False)
    assert fine.key == "finetune-2" and [name for name, _, _ in shop.asked] == ["pretrain", "finetune", "finetune"]
    (_, _, pretrain), (_, inputs, params), (_, scratch, bare) = shop.asked
    assert len(pretrain["patches"]) == pool.size and len(params["patches"]) == 12
    given = [Box.from_json(patch) for patch in (*pretrain["patches"], *params["patches"])]
    given += [pool.boxes[int(item.path.name)] for item in inputs["label"]]
    for box in given:
        assert box.stop[2] <= region.start[2] - 20 or box.start[2] >= region.stop[2] + 20
    labelled = {pool.boxes[int(item.path.name)] for item in inputs["label"]}
    assert labelled == {pool.boxes[int(row)] for row in rows[:4]}
    assert not labelled & {Box.from_json(patch) for patch in params["patches"]}  # rehearsed are others
    assert [item.key for item in inputs["model"]] == ["pretrain-1"] and scratch["model"] == []
    assert "patches" not in bare and bare["mix_share"] == 0.0
    assert bare["schedule"]["epochs"] == 5 and params["schedule"]["epochs"] == 3


def test_labels_are_what_the_expert_draws_and_the_exam_is_the_truth(tissue: Pair, tmp_path: Path) -> None:
    from alcore.nnunet.sources import label_mask

    settings = replace(SETTINGS, expert=ExpertSettings(missed=0.5, boundary_jitter_px=1.0))
    pool = LabelledPool(tissue, settings, Workshop(tmp_path))
    labels = pool.labelled(3)
    rows = [row for row, box in enumerate(pool.boxes) if pool.truth[box.slices].any()]
    different = 0
    for row in rows:
        mask, drawn = label_mask(labels.path / f"{row:06d}"), pool.drawn(row, 3)
        np.testing.assert_array_equal(mask > 0, drawn > 0)
        different += bool((drawn != pool.truth[pool.boxes[row].slices]).any())
    assert different > len(rows) / 2
    exam = label_mask(pool.exam(2).path)
    np.testing.assert_array_equal(exam > 0, pool.truth[pool.splits[2].region.slices] > 0)


def test_training_settings_that_do_not_exist_are_named() -> None:
    with pytest.raises(PermanentError, match=r"training settings of a simulation: .*'epochs'"):
        Training.from_json({**TRAINING, "epochs": 3})


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_training_goes_on_and_the_scores_are_the_same(tissue: Pair, tmp_path: Path) -> None:
    pairs = ["--image", str(tissue.image), "--labels", str(tissue.labels), "--device", "cpu", "--workers", "1"]
    what = ["--patch", "6", "20", "20", "--regions", "1", "--seeds", "1", "--budgets", "0,2,4", "--learner", "nnunet"]
    play = ["--strategies", "coreset,uncertainty", "--pretraining", "with"]
    length = ["--pretrain-epochs", "1", "--finetune-epochs", "2", "--plan", "tiny"]
    command = [sys.executable, "-m", "daemon.cli.main", "simulate", *pairs, *what, *play, *length]

    def table(out: Path) -> list[dict[str, str]]:
        with open(out / "results.csv", newline="") as file:
            return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", str(killed)], cwd=ROOT, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 280
    while not list(killed.glob("cache/scratch/finetune-*/training.jsonl")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(killed.glob("cells/*/*/*.json"))) < 6
    for out in (killed, whole):
        subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    assert table(killed) == table(whole)
    assert [row["n_labels"] for row in table(whole)] == ["0", "16", "2", "4", "2", "4"]
    assert len(list(whole.glob("cache/artifacts/*/predict-*"))) == 1  # only uncertainty looks, once
