"""Stage traits, run as the daemon runs it, on synthetic and on real volumes, with and without pseudo-labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from alcore.arrays.synthetic import em_volume
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError, Preempted, SourceChangedError
from alcore.run import QuietContext, execute, stage
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes.store import create_labels, open_labels

VOXEL = (0.04, 0.008, 0.008)
PATCH = [8, 40, 40]
FROM_OBJECTS = ("foreground", "border", "n_objects", "confidence")
FROM_IMAGE = ("sharpness", "contrast", "clipped", "blank")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def context(folder: Path, **more: Any) -> QuietContext:
    return QuietContext(folder / "scratch", folder / "cache", **more)


def ingest(
    folder: Path, store: ArtifactStore, path: Path, patch: list[int], voxel: tuple[float, ...] = VOXEL
) -> dict[str, list[Input]]:
    source = Input(path, f"file:{path.name}")
    params = {"read": {}, "voxel_um": list(voxel), "patch": {"shape_px": patch}, "fingerprint": None, "limit_gb": 4.0}
    volume = execute("volume", {"source": [source]}, params, store, context(folder))
    return {"volume": [Input(store.path(volume.key), volume.key)], "source": [source]}


def written(folder: Path, image: np.ndarray) -> Path:
    path = folder / "v.tif"
    tifffile.imwrite(path, image, metadata={"axes": "ZYX"}, compression="zlib")
    return path


def pseudo_labels(store: ArtifactStore, labels: np.ndarray, confidence: list[float]) -> Input:
    """An artifact of stage pseudo that holds these."""

    def fill(out: Path) -> dict[str, Any]:
        create_labels(out / "instances.zarr", labels.shape)[:] = labels
        (out / "pseudo.json").write_text(json.dumps({"n_objects": int(labels.max()), "confidence": confidence}))
        return {}

    store.create("pseudo-1", "pseudo", 1, {}, {}, fill)
    return Input(store.path("pseudo-1"), "pseudo-1")


def traits(folder: Path, inputs: dict[str, list[Input]], ctx: QuietContext) -> dict[str, np.ndarray]:
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    out.mkdir()
    result = stage("traits").run(inputs, {"read": {}}, out, ctx)
    with np.load(out / "traits.npz") as stored:
        found = {name: stored[name] for name in stored.files}
    assert all(values.shape == (result["n"],) and values.dtype == np.float32 for values in found.values())
    assert set(found) == {*FROM_OBJECTS, *FROM_IMAGE}
    return found


def boxes_of(inputs: dict[str, list[Input]]) -> list[Box]:
    return [Box.from_json(b) for b in json.loads((inputs["volume"][0].path / "patches.json").read_text())]


def test_figures_of_the_patches_they_belong_to(tmp_path: Path, store: ArtifactStore) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (16, 120, 200)).astype(np.uint8)
    image[:8, :40, :40] = ndimage.gaussian_filter(image[:8, :40, :40].astype(float), (0, 2, 2))
    image[:8, 40:80, 80:120] = 255
    image[8:, 80:, 160:] = 128
    labels = np.zeros(image.shape, np.uint32)
    labels[2:6, 10:30, 100:140] = 1  # half in one patch, half in the next
    labels[10:14, 50:60, 45:75] = 2
    inputs = ingest(tmp_path, store, written(tmp_path, image), PATCH)
    inputs["pseudo"] = [pseudo_labels(store, labels, [0.25, 0.75])]
    boxes = boxes_of(inputs)
    found = traits(tmp_path, inputs, context(tmp_path))
    by_start = {box.start: i for i, box in enumerate(boxes)}
    assert len(boxes) == 30 and np.nanargmin(found["sharpness"]) == by_start[0, 0, 0]
    assert found["clipped"].argmax() == by_start[0, 40, 80] and found["clipped"].max() == 1
    assert np.flatnonzero(found["blank"]).tolist() == sorted([by_start[0, 40, 80], by_start[8, 80, 160]])
    left, right, alone = by_start[0, 0, 80], by_start[0, 0, 120], by_start[8, 40, 40]
    assert found["n_objects"][[left, right, alone]] == pytest.approx([0.5, 0.5, 1.0]) and found["n_objects"].sum() == 2
    assert found["confidence"][[left, right, alone]] == pytest.approx([0.25, 0.25, 0.75])
    for i, box in enumerate(boxes):
        assert found["foreground"][i] == pytest.approx((labels[box.slices] > 0).mean())
    assert np.isnan(found["confidence"]).sum() == 27 and (found["border"] > 0).sum() == 3
    without = traits(tmp_path, {k: v for k, v in inputs.items() if k != "pseudo"}, context(tmp_path))
    for name in FROM_IMAGE:
        np.testing.assert_array_equal(without[name], found[name])
    assert all(np.isnan(without[name]).all() for name in FROM_OBJECTS)


@pytest.mark.parametrize("polarity", ["dark", "bright"])
def test_pseudo_labels_of_either_polarity_find_the_rich_patches(
    tmp_path: Path, store: ArtifactStore, polarity: str
) -> None:
    image, truth = em_volume((16, 160, 240), VOXEL, np.random.default_rng(3))
    shown = image if polarity == "dark" else 255 - image
    inputs = ingest(tmp_path, store, written(tmp_path, shown), PATCH)
    options = {"polarity": polarity, "min_contrast": 0.1}
    made = execute("pseudo", inputs, {"read": {}, "backend": "threshold", "options": options}, store, context(tmp_path))
    found = traits(tmp_path, {**inputs, "pseudo": [Input(store.path(made.key), made.key)]}, context(tmp_path))
    true = np.array([(truth[box.slices] > 0).mean() for box in boxes_of(inputs)])
    assert np.corrcoef(found["foreground"], true)[0, 1] > 0.6
    assert found["n_objects"].sum() == pytest.approx(made.result["n_objects"], rel=1e-4)


def test_several_channels_and_floats(tmp_path: Path, store: ArtifactStore) -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(4, 2, 64, 64)).astype(np.float32)
    image[0, 0, 3, 3] = np.nan
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "ZCYX"})
    source = Input(path, "file:c")
    read = {"together": True}
    params = {"read": read, "voxel_um": list(VOXEL), "patch": {"shape_px": [4, 32, 32]}, "fingerprint": None}
    volume = execute("volume", {"source": [source]}, {**params, "limit_gb": 1.0}, store, context(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"volume": [Input(store.path(volume.key), volume.key)], "source": [source]}
    stage("traits").run(inputs, {"read": read}, out, context(tmp_path))
    with np.load(out / "traits.npz") as found:
        assert found["contrast"] == pytest.approx(np.ones(4), abs=0.1) and found["clipped"].max() < 0.01
        assert np.isfinite(found["sharpness"]).all()


def test_memory_does_not_matter_for_the_result_and_stays_flat(tmp_path: Path, store: ArtifactStore) -> None:
    import tracemalloc

    rng = np.random.default_rng(2)
    image = np.tile(rng.integers(0, 255, (16, 256, 256)).astype(np.uint8), (1, 2, 6))
    labels = np.zeros(image.shape, np.uint32)
    labels[:, 100:140, 20:1400:2] = np.arange(1, 691)
    inputs = ingest(tmp_path, store, written(tmp_path, image), [8, 64, 64])
    inputs["pseudo"] = [pseudo_labels(store, labels, [0.5] * 690)]
    results, peaks = [], []
    for ram_bytes in (1 << 20, 8 << 30):
        tracemalloc.start()
        results.append(traits(tmp_path, inputs, context(tmp_path, ram_bytes=ram_bytes)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])
    assert peaks[0] < labels.nbytes / 3 and results[0]["n_objects"].sum() == pytest.approx(690, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "patch", "voxel"),
    [
        ("sbem_mito_z010-039", [15, 64, 64], (0.04, 0.0059, 0.0059)),
        ("mouse_embryo_8cell", [26, 40, 40], (1.75, 0.8, 0.8)),
        ("ovule_nuclei_1135", [25, 33, 33], (0.284, 0.127, 0.127)),
    ],
)
def test_real_volumes(
    real_data: Any, tmp_path: Path, store: ArtifactStore, name: str, patch: list[int], voxel: tuple[float, ...]
) -> None:
    """Dark organelles and bright nuclei: the pseudo-labels know well enough which patches have the most to show."""
    folder = real_data(name)
    part = np.s_[:60, :600, :600]  # enough, and quick
    path = written(tmp_path, tifffile.imread(folder / "image.tif")[part])
    inputs = ingest(tmp_path, store, path, patch, voxel)
    made = execute("pseudo", inputs, {"read": {}, "backend": "threshold", "options": {}}, store, context(tmp_path))
    pseudo = Input(store.path(made.key), made.key)
    found = traits(tmp_path, {**inputs, "pseudo": [pseudo]}, context(tmp_path))
    truth = tifffile.imread(folder / "labels.tif")[part] > 0
    true = np.array([truth[box.slices].mean() for box in boxes_of(inputs)])
    order = [values.argsort().argsort() for values in (found["foreground"], true)]
    assert np.corrcoef(*order)[0, 1] > 0.6
    assert found["n_objects"].sum() == pytest.approx(made.result["n_objects"], rel=1e-3)
    seen = np.asarray(open_labels(pseudo.path / "instances.zarr")[:])
    assert found["foreground"] == pytest.approx([(seen[b.slices] > 0).mean() for b in boxes_of(inputs)])
    assert all(np.isfinite(found[k]).all() for k in FROM_IMAGE) and found["blank"].max() == 0


def test_what_cannot_work_says_so(tmp_path: Path, store: ArtifactStore) -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 80, 80)).astype(np.uint8)
    path = written(tmp_path, image)
    inputs = ingest(tmp_path, store, path, PATCH)
    small = pseudo_labels(store, np.zeros((8, 80, 79), np.uint32), [])
    with pytest.raises(PermanentError, match=r"pseudo-labels of shape \(8, 80, 79\) for a volume of \(8, 80, 80\)"):
        traits(tmp_path, {**inputs, "pseudo": [small]}, context(tmp_path))

    class Asked(QuietContext):
        def should_stop(self) -> bool:
            return True

    with pytest.raises(Preempted):
        traits(tmp_path, inputs, Asked(tmp_path / "scratch", tmp_path / "cache"))
    tifffile.imwrite(path, image[:5], metadata={"axes": "ZYX"})
    with pytest.raises(SourceChangedError, match=r"is .*5, 80, 80.* now"):
        traits(tmp_path, inputs, context(tmp_path))
