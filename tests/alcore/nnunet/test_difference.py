"""Two models compared on labels, and two segmentations without any: rows and pictures of what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alcore.arrays.changes import changes, counts
from alcore.nnunet import sources
from alcore.nnunet.difference import MOST_PLANES, on_patches, on_volume
from alcore.nnunet.environment import nnunet_process
from alcore.run import QuietContext
from alcore.volumes.labels_zarr import write_labels_zarr
from alcore.volumes.picture_changes import STRIP_PX
from alcore.volumes.writers import write_labels_tiff
from tests.alcore.stages.training_bench import VOXEL_UM, Bench


def picture_rows(path: Path, height: int) -> int:
    """Slices in a picture, each of which is so many pixels high."""
    rows, rest = divmod(np.asarray(Image.open(path)).shape[0] - STRIP_PX, STRIP_PX + height)
    assert rest == 0
    return rows


def test_two_trained_models_are_compared_on_every_label(tmp_path: Path) -> None:
    """Both models are real ones; what is told is what their own segmentations say."""
    from alcore.nnunet.instances import segment_patch
    from alcore.nnunet.prediction import Predictor

    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench")
    one = bench.pretrain(bench.pseudo)[1].path
    schedule = {"epochs": 6, "iterations": 10, "lr": 1e-2, "validation_iterations": 1}
    params = {"plan": "tiny", "schedule": schedule, "seed": 3, "mix_share": 0.0}
    other = bench.run("finetune", {"model": [], "label": bench.labels}, params)[1].path
    ctx = QuietContext(tmp_path / "scratch", tmp_path / "cache")
    ctx.scratch.mkdir()
    labels = [(item.key, item.path) for item in bench.labels]
    with nnunet_process(ctx.scratch, "cpu", 1):
        rows = on_patches((one, other), labels, tmp_path, ctx, 1, 0.0)
        predictors = [Predictor(folder, "cpu", 0.5, ctx.ram_bytes) for folder in (one, other)]
        for row, (name, path) in zip(rows, labels, strict=True):
            image, stats, voxel_um = sources.label_image(path)
            a, b = (segment_patch(p, image, stats, voxel_um, 1) for p in predictors)
            assert row["name"] == name
            assert row["counts"] == counts(changes(sources.label_mask(path), a, b))
            assert (row["picture"] is None) == (not row["changes"])
    assert any(row["changes"] for row in rows), "two so different models cannot agree on everything"
    for row in rows:
        if row["picture"] is not None:
            planes = {c["centre"][0] for c in row["changes"]}
            assert picture_rows(Path(row["picture"]), height=8 * 64) == min(MOST_PLANES, len(planes))


def test_without_a_truth_objects_are_gained_and_lost(tmp_path: Path) -> None:
    one, other = np.zeros((3, 40, 40), np.uint16), np.zeros((3, 40, 40), np.uint16)
    one[:, 5:15, 5:15] = other[:, 5:15, 5:15] = 1
    one[1, 20:25, 20:25] = 2
    other[2, 30:38, 30:38] = 7
    for name, ids in (("a.tif", one), ("b.tif", other)):
        write_labels_tiff(tmp_path / name, ids, ids.shape, "uint16", VOXEL_UM)
    row = on_volume("stack", tmp_path / "a.tif", tmp_path / "b.tif", tmp_path)
    assert {k: n for k, n in row["counts"].items() if n} == {"gained": 1, "lost": 1}
    assert [(c["kind"], c["voxels"]) for c in row["changes"]] == [("gained", 64), ("lost", 25)]
    assert Path(row["picture"]) == tmp_path / "stack.png" and Path(row["picture"]).is_file()
    assert picture_rows(tmp_path / "stack.png", height=13 * 40) == 2  # each through the middle of one of both
    write_labels_zarr(
        tmp_path / "b.ome.zarr", lambda box: other[box.slices], other.shape, "uint16", VOXEL_UM, {}, labels=True
    )
    again = on_volume("again", tmp_path / "a.tif", tmp_path / "b.ome.zarr", tmp_path)
    assert again["changes"] == row["changes"]
    same = on_volume("same", tmp_path / "a.tif", tmp_path / "a.tif", tmp_path)
    assert same["changes"] == [] and same["picture"] is None and not (tmp_path / "same.png").exists()


def test_segmentations_of_other_sizes_are_refused(tmp_path: Path) -> None:
    for name, shape in (("a.tif", (2, 8, 8)), ("b.tif", (2, 8, 9))):
        write_labels_tiff(tmp_path / name, np.zeros(shape, np.uint16), shape, "uint16", VOXEL_UM)
    with pytest.raises(ValueError, match="cannot be compared"):
        on_volume("x", tmp_path / "a.tif", tmp_path / "b.tif", tmp_path)
