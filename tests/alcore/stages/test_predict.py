"""Stage predict: a TIFF with instances, voxel size and model, of the right shape; refused for other channels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from alcore.errors import PermanentError
from alcore.stage import Input
from alcore.volumes.labels import read_labels, read_labels_metadata
from tests.alcore.stages.training_bench import PATCHES, QUICK, READ, SHAPE, VOXEL_UM, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def tuned(bench: Bench) -> Input:
    params = {"schedule": {**QUICK, "epochs": 4, "iterations": 8}, "seed": 1, "plan": "tiny"}
    return bench.run("finetune", {"label": bench.labels}, params)[1]


def test_instances_with_voxel_size_and_model(bench: Bench, tuned: Input) -> None:
    inputs = {"model": [tuned], "volume": [bench.volume], "source": [bench.source]}
    manifest, predicted = bench.run("predict", inputs, {"read": READ, "version": "M_f-001", "min_voxels": 1})
    path = predicted.path / "instances.tif"
    with tifffile.TiffFile(path) as tif:
        assert tif.imagej_metadata is not None
        assert tif.imagej_metadata["spacing"] == VOXEL_UM[0]
    instances, _ = read_labels(path)
    assert instances.shape == SHAPE
    assert instances.max() == manifest.result["n_objects"] > 0
    assert manifest.result["foreground_fraction"] == pytest.approx((instances > 0).mean())
    assert read_labels_metadata(path) == {
        "model": "M_f-001",
        "model_key": tuned.key,
        "volume_sha256": "0" * 64,
    }


def test_every_patch_says_what_it_holds_and_how_sure_the_model_is(bench: Bench, tuned: Input, tmp_path: Path) -> None:
    from alcore.nnunet.environment import nnunet_process
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    inputs = {"model": [tuned], "volume": [bench.volume], "source": [bench.source]}
    manifest, predicted = bench.run("predict", inputs, {"read": READ, "version": "M", "min_voxels": 30})
    found = dict(np.load(predicted.path / "patches.npz"))
    assert set(found) == {"entropy_bg", "entropy_fg", "foreground", "border", "n_objects"}
    assert all(v.shape == (len(PATCHES),) and v.dtype == np.float32 for v in found.values())
    whole = np.zeros(SHAPE)
    with nnunet_process(tmp_path, "cpu", 1):
        predictor = Predictor(tuned.path, "cpu", block_px=(4096, 4096))
        for box, logits in predictor.logits(ArrayVoxels(bench.image), bench.stats, VOXEL_UM):
            whole[box.slices] = logits
    p = 1 / (1 + np.exp(-whole))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)) / np.log(2)
    instances, _ = read_labels(predicted.path / "instances.tif")
    for row, box in enumerate(PATCHES):
        inside, here = whole[box.slices] > 0, entropy[box.slices]
        assert found["entropy_fg"][row] == pytest.approx(here[inside].mean(), abs=1e-4)
        assert found["entropy_bg"][row] == pytest.approx(here[~inside].mean(), abs=1e-4)
        assert found["foreground"][row] == pytest.approx((instances[box.slices] > 0).mean())
    assert found["n_objects"].sum() == pytest.approx(manifest.result["n_objects"])
    assert 0 < found["border"].max() < found["foreground"].max()
    assert manifest.result["entropy_bg"] == pytest.approx(entropy[whole <= 0].mean(), abs=1e-4)
    assert manifest.result["confidence"] == pytest.approx(1 - entropy[whole > 0].mean(), abs=1e-4)


def test_other_channels_than_in_training_are_refused(bench: Bench, tuned: Input) -> None:
    info = json.loads((bench.volume.path / "info.json").read_text())
    two = bench.folder("two")
    (two.path / "patches.json").write_text("[]")
    (two.path / "info.json").write_text(json.dumps({**info, "shape": [2, *SHAPE], "stats": info["stats"] * 2}))
    from alcore.volumes.writers import write_image_tiff

    write_image_tiff(bench.root / "two.tif", np.concatenate([bench.image, bench.image]), VOXEL_UM)
    inputs = {"model": [tuned], "volume": [two], "source": [Input(bench.root / "two.tif", "sha256:two")]}
    with pytest.raises(PermanentError, match="2 channels"):
        bench.run("predict", inputs, {"read": READ, "version": "M"})
