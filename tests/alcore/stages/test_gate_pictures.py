"""Stage gate_pictures: pseudo-label, prediction and label of held-out patches, in one slice, as pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alcore.stage import Input
from alcore.volumes.labels import read_labels
from tests.alcore.stages.training_bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def model(bench: Bench) -> Input:
    return bench.pretrain(bench.pseudo)[1]


def test_every_panel_is_a_picture_of_the_slice_in_which_most_was_drawn(bench: Bench, model: Input) -> None:
    params = {"names": ["s00001", "s00002", "s00003"], "version": "M_p-001", "min_voxels": None}
    made, folder = bench.run("gate_pictures", {"model": [model], "label": bench.labels}, params)
    assert made.result["version"] == "M_p-001" and [p["name"] for p in made.result["patches"]] == params["names"]
    assert json.loads((folder.path / "patches.json").read_text()) == made.result
    for n, (item, told) in enumerate(zip(bench.labels, made.result["patches"], strict=True)):
        truth = read_labels(item.path / "label.tif")[0]
        assert told["slice"] == int((truth > 0).sum(axis=(1, 2)).argmax()) and told["n_slices"] == 8
        assert told["panels"] == ["image", "pseudo-label", "prediction", "label"]
        assert told["objects"]["label"] == len(np.unique(truth[truth > 0]))
        assert 0 <= told["dice"] <= 1
        pictures = {p: np.asarray(Image.open(folder.path / f"{n:02d}_{p}.jpg")).astype(int) for p in told["panels"]}
        assert {p.shape for p in pictures.values()} == {(192, 96, 3)}  # 64 x 32 voxels, three pixels each
        assert np.ptp(pictures["image"], axis=2).max() < 12, "the image alone is grey"
        assert np.ptp(pictures["label"], axis=2).max() > 60, "outlines have a colour"


def test_a_label_without_pseudo_label_has_the_other_panels(bench: Bench, model: Input, tmp_path: Path) -> None:
    for name in ("image.tif", "label.tif", "label.json"):
        (tmp_path / name).write_bytes((bench.labels[0].path / name).read_bytes())
    params = {"names": ["s1"], "version": "M_p-001"}
    made, folder = bench.run("gate_pictures", {"model": [model], "label": [Input(tmp_path, "label-bare")]}, params)
    assert made.result["patches"][0]["panels"] == ["image", "prediction", "label"]
    assert not (folder.path / "00_pseudo-label.jpg").exists()
