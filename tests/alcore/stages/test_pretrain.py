"""Stages pretrain, finetune and evaluate in a row, from artifacts to artifacts; pre-training that cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alcore.errors import PermanentError
from alcore.stage import Input
from alcore.volumes.labels import read_labels
from tests.alcore.stages.training_bench import QUICK, READ, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_the_whole_chain(bench: Bench) -> None:
    manifest, pretrained = bench.pretrain(bench.pseudo)
    expected = {"plans.json", "dataset.json", "dataset_fingerprint.json", "weights.pt", "training.jsonl", "model.json"}
    assert set(manifest.files) == expected
    assert manifest.result["n_cases"] == 2
    assert manifest.result["plan"]["name"] == "tiny"
    assert manifest.result["data"] == {"channels": 1, "voxel_um": [0.04, 0.01, 0.01]}

    params = {"schedule": {**QUICK, "epochs": 6, "iterations": 8}, "seed": 1, "plan": "tiny", "mix_share": 0.25}
    inputs = {"model": [pretrained], "label": bench.labels[:2]}
    inputs |= {"volume": [bench.volume], "source": [bench.source], "pseudo": [bench.pseudo]}
    patches = [{"volume": 0, "start": [0, 0, 0], "shape": [8, 64, 48]}]
    manifest, tuned = bench.run("finetune", inputs, {**params, "patches": patches, "read": [READ]})
    assert manifest.result["n_cases"] == 3
    assert manifest.result["plan"]["digest"] == json.loads((pretrained.path / "model.json").read_text())["digest"]
    assert manifest.result["n_preprocessed"] == 2  # the rehearsed patch was preprocessed for the pre-training
    about = json.loads((tuned.path / "model.json").read_text())
    assert (about["kind"], about["n_labels"]) == ("finetuned", 2)

    manifest, _ = bench.run("evaluate", {"model": [tuned], "label": bench.labels}, {"iou": 0.5})
    assert manifest.result["scores"]["n_true"] == sum(len(np.unique(mask(i))) - 1 for i in bench.labels)
    assert manifest.result["scores"]["dice"] > 0.5


def mask(label: Input) -> np.ndarray:
    return read_labels(label.path / "label.tif")[0]


def test_pretraining_without_any_object_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="annotate a patch"):
        bench.pretrain(bench.nothing)


def test_lists_that_are_not_aligned_are_refused(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="aligned"):
        bench.run(
            "pretrain",
            {"volume": [bench.volume], "source": [bench.source], "pseudo": [bench.pseudo]},
            {"read": [], "patches": [], "plan": "tiny", "schedule": QUICK, "seed": 1},
        )
