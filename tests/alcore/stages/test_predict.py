"""Stage predict: a TIFF with instances, voxel size and model, of the right shape; refused for other channels."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from alcore.errors import PermanentError, Preempted
from alcore.nnunet.fallback import NOTE
from alcore.nnunet.prediction import Predictor
from alcore.run import QuietContext
from alcore.stage import Input
from alcore.stages.predict import STAGE
from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels, read_labels_metadata
from alcore.volumes.labels_zarr import read_labels_zarr, zarr_metadata
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
        "weights_sha256": hashlib.sha256((tuned.path / "weights.pt").read_bytes()).hexdigest(),
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


def inputs_of(bench: Bench, tuned: Input) -> dict[str, list[Input]]:
    return {"model": [tuned], "volume": [bench.volume], "source": [bench.source]}


def lines(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def test_the_table_is_that_of_skimage(bench: Bench, tuned: Input) -> None:
    from skimage.measure import regionprops_table

    _, predicted = bench.run("predict", inputs_of(bench, tuned), {"read": READ, "version": "M_f-001", "min_voxels": 1})
    instances, _ = read_labels(predicted.path / "instances.tif")
    names = ("label", "area", "centroid", "bbox", "intensity_mean")
    theirs = regionprops_table(instances.astype(np.int32), bench.image[0], properties=names, spacing=VOXEL_UM)
    mine = lines(predicted.path / "objects.csv")
    assert len(mine) == instances.max()
    assert {row["model"] for row in mine} == {"M_f-001"}
    pairs = {"id": "label", "volume_um3": "area", "mean_intensity": "intensity_mean"}
    pairs |= {f"centroid_{a}_um": f"centroid-{n}" for n, a in enumerate("zyx")}
    pairs |= {f"bbox_{a}{side}": f"bbox-{n + 3 * side}" for n, a in enumerate("zyx") for side in (0, 1)}
    for ours, name in pairs.items():
        np.testing.assert_allclose([float(row[ours]) for row in mine], theirs[name], rtol=1e-8, atol=1e-9)


def test_without_a_voxel_size_the_table_counts_voxels(bench: Bench, tuned: Input) -> None:
    info = json.loads((bench.volume.path / "info.json").read_text()) | {"voxel_um": None}
    unknown = bench.folder("unsized")
    (unknown.path / "patches.json").write_text("[]")
    (unknown.path / "info.json").write_text(json.dumps(info))
    inputs = inputs_of(bench, tuned) | {"volume": [unknown]}
    _, predicted = bench.run("predict", inputs, {"read": READ, "version": "M", "min_voxels": 1})
    instances, _ = read_labels(predicted.path / "instances.tif")
    rows = lines(predicted.path / "objects.csv")
    assert [int(row["volume_voxels"]) for row in rows] == np.bincount(instances.ravel())[1:].tolist()
    assert "centroid_z_px" in rows[0] and "volume_um3" not in rows[0]


def test_a_large_volume_becomes_an_ome_zarr_of_the_same_ids_and_doubt_is_drawn(bench: Bench, tuned: Input) -> None:
    params = {"read": READ, "version": "M", "min_voxels": 1}
    _, plain = bench.run("predict", inputs_of(bench, tuned), params | {"zarr_above_gb": 1.0, "uncertainty": True})
    gigabytes = 3.9 * np.prod(SHAPE) / 1e9
    params |= {"zarr_above_gb": gigabytes, "uncertainty": True}
    manifest, large = bench.run("predict", inputs_of(bench, tuned), params)
    assert not (large.path / "instances.tif").exists() and not (plain.path / "instances.ome.zarr").exists()
    ids, _ = read_labels(plain.path / "instances.tif")
    assert (read_labels_zarr(large.path / "instances.ome.zarr") == ids).all()
    assert zarr_metadata(large.path / "instances.ome.zarr")["model_key"] == tuned.key
    with open_volume(large.path / "instances.ome.zarr", {"sparse": True}) as reader:
        assert reader.voxel_um == pytest.approx(VOXEL_UM)
    doubt = tifffile.imread(plain.path / "uncertainty.tif").reshape(SHAPE)
    assert doubt.dtype == np.uint8
    assert (read_labels_zarr(large.path / "uncertainty.ome.zarr") == doubt).all()
    unsure = manifest.result["entropy_fg"], manifest.result["entropy_bg"]
    assert min(unsure) < doubt.mean() / 255 < max(unsure)
    files = {p.name for p in large.path.iterdir()} - {"manifest.json"}
    assert files == {"instances.ome.zarr", "uncertainty.ome.zarr", "objects.csv", "patches.npz", "prediction.json"}


class Interrupted(QuietContext):
    """A context whose stage is asked to stop after so many reports."""

    left = 1 << 30

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def predicted_files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".tif", ".csv", ".npz")}


def test_after_a_stop_it_goes_on_and_ends_with_the_same_bytes(
    bench: Bench, tuned: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alcore.stages.predict.CHECKPOINT_S", 0.0)
    params = {"read": READ, "version": "M", "min_voxels": 1, "uncertainty": True, "tile_step": 0.25}
    _, whole = bench.run("predict", inputs_of(bench, tuned), params)
    seen: list[int] = []
    real = Predictor.class_logits

    def told(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        seen.append(args[4])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Predictor, "class_logits", told)
    ctx = Interrupted(tmp_path / "scratch", tmp_path / "cache", ram_bytes=1 << 20)
    ctx.scratch.mkdir()
    for patience in range(4, 200, 4):
        ctx.left = patience
        out = tmp_path / f"out{len(seen)}"
        out.mkdir()
        try:
            STAGE.run(inputs_of(bench, tuned), params, out, ctx)
            break
        except Preempted:
            continue
    assert len(seen) > 2 and seen == sorted(seen) and seen[-1] > 0
    assert predicted_files(out) == predicted_files(whole.path)


def test_without_room_on_the_gpu_the_processor_goes_on(
    bench: Bench, tuned: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"read": READ, "version": "M", "min_voxels": 1}
    _, whole = bench.run("predict", inputs_of(bench, tuned), params)
    devices: list[str] = []
    real = Predictor.__init__

    def pretend(self, folder, device, *args):  # type: ignore[no-untyped-def]
        devices.append(device)
        real(self, folder, "cpu", *args)
        if device == "cuda":
            self._logits = no_room

    def no_room(tile):  # type: ignore[no-untyped-def]
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Predictor, "__init__", pretend)
    ctx = QuietContext(tmp_path / "scratch", tmp_path / "cache", "cuda")
    for folder in (ctx.scratch, tmp_path / "out"):
        folder.mkdir()
    result = STAGE.run(inputs_of(bench, tuned), params, tmp_path / "out", ctx)
    assert devices == ["cuda", "cpu"]
    assert result["notes"] == [NOTE]
    assert predicted_files(tmp_path / "out") == predicted_files(whole.path)

    def broken(self, folder, device, *args):  # type: ignore[no-untyped-def]
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Predictor, "__init__", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        STAGE.run(inputs_of(bench, tuned), params, tmp_path / "out", ctx)


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


def test_a_least_volume_counts_where_the_voxel_size_is_known_and_is_told_where_it_is_not(
    bench: Bench, tuned: Input
) -> None:
    def predict(volume: Input, **params: object) -> dict[str, Any]:
        inputs = {"model": [tuned], "volume": [volume], "source": [bench.source]}
        return bench.run("predict", inputs, {"read": READ, "version": "M", **params})[0].result

    um3 = 5000 * VOXEL_UM[0] * VOXEL_UM[1] * VOXEL_UM[2]
    known, limited = predict(bench.volume, min_voxels=1, min_um3=um3), predict(bench.volume, min_voxels=5000)
    assert known["n_objects"] == limited["n_objects"] < predict(bench.volume, min_voxels=1)["n_objects"]
    assert known["foreground_fraction"] == limited["foreground_fraction"] and not known["notes"]
    unknown = bench.folder("unknown")
    for path in bench.volume.path.iterdir():
        (unknown.path / path.name).write_bytes(path.read_bytes())
    info = json.loads((unknown.path / "info.json").read_text())
    (unknown.path / "info.json").write_text(json.dumps(info | {"voxel_um": None}))
    free = predict(unknown, min_voxels=1, min_um3=um3)
    assert free["n_objects"] > known["n_objects"]
    assert "was not applied: the voxel size of this volume is unknown" in free["notes"][0]
