"""Stage pseudo, run as the daemon runs it: from a file through the stage volume to an artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError, SourceChangedError
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.volumes.store import open_labels

VOXEL = (0.04, 0.008, 0.008)
READ: dict[str, Any] = {"read": {}}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def ingest(tmp_path: Path, store: ArtifactStore, image: np.ndarray[Any, Any]) -> dict[str, list[Input]]:
    """The inputs of the stage for a file with this image."""
    path = tmp_path / "v.tif"
    metadata = {"axes": "ZYX", "spacing": VOXEL[0], "unit": "um"}
    tifffile.imwrite(path, image, imagej=True, resolution=(1 / VOXEL[2], 1 / VOXEL[1]), metadata=metadata)
    source = Input(path, "file:1")
    params = {**READ, "voxel_um": None, "patch": {"shape_px": [8, 64, 64]}, "fingerprint": None, "limit_gb": 1.0}
    volume = execute("volume", {"source": [source]}, params, store, context(tmp_path))
    return {"volume": [Input(store.path(volume.key), volume.key)], "source": [source]}


def context(tmp_path: Path) -> QuietContext:
    return QuietContext(tmp_path / "scratch", tmp_path / "cache")


def test_a_volume_with_organelles(tmp_path: Path, store: ArtifactStore) -> None:
    image, _ = em_volume((12, 160, 150), VOXEL, np.random.default_rng(1))
    inputs = ingest(tmp_path, store, image)
    params = {**READ, "backend": "threshold", "options": {"min_contrast": 0.1}}
    manifest = execute("pseudo", inputs, params, store, context(tmp_path))
    labels = np.asarray(open_labels(store.path(manifest.key) / "instances.zarr")[:])
    record = json.loads((store.path(manifest.key) / "pseudo.json").read_text())
    assert labels.shape == image.shape and labels.dtype == np.uint32
    assert manifest.result["n_objects"] == record["n_objects"] == labels.max() == len(record["confidence"]) > 0
    assert manifest.result["foreground_fraction"] == pytest.approx((labels > 0).mean())
    assert manifest.result["backend"] == record["backend"] == "threshold"
    assert (
        record["parameters"]["options"]["min_contrast"] == 0.1 and record["parameters"]["found"]["polarity"] == "dark"
    )
    assert record["backend_version"] >= 1 and "seconds" not in record, "the same recipe makes the same file"


def test_nothing_to_find_is_a_note(tmp_path: Path, store: ArtifactStore) -> None:
    noise = np.random.default_rng(0).poisson(90, (8, 64, 64)).astype(np.uint8)
    manifest = execute(
        "pseudo", ingest(tmp_path, store, noise), {**READ, "backend": "threshold"}, store, context(tmp_path)
    )
    assert manifest.result["n_objects"] == 0 and any("nothing" in n for n in manifest.result["notes"])
    assert not np.asarray(open_labels(store.path(manifest.key) / "instances.zarr")[:]).any()


def test_what_cannot_work_leaves_no_artifact(tmp_path: Path, store: ArtifactStore) -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 64, 64)).astype(np.uint8)
    inputs = ingest(tmp_path, store, image)
    with pytest.raises(PermanentError, match="no option 'radius'; the nearest is 'radius_px'"):
        execute("pseudo", inputs, {**READ, "backend": "threshold", "options": {"radius": 3}}, store, context(tmp_path))
    tifffile.imwrite(inputs["source"][0].path, image[:5], metadata={"axes": "ZYX"})
    with pytest.raises(SourceChangedError, match=r"is .*5, 64, 64.* now"):
        execute("pseudo", inputs, {**READ, "backend": "threshold", "options": {}}, store, context(tmp_path))
    assert sum(1 for _ in store.root.rglob("pseudo.json")) == 0


def test_a_model_of_our_own_labels_as_it_predicts(tmp_path: Path, store: ArtifactStore) -> None:
    from alcore.volumes.labels import read_labels
    from tests.alcore.nnunet.nnunet_blobs import blobs
    from tests.alcore.pseudo import learned

    (tmp_path / "model").mkdir()
    made = learned._nnunet(tmp_path / "model")
    image, _ = blobs(7, (12, 64, 64), n=12)
    inputs = ingest(tmp_path, store, image[0].clip(0, 65535).astype(np.uint16))
    with_model = inputs | {"model": [Input(made["_model"], "finetune-1")]}
    options = {"min_voxels": 1}
    manifest = execute(
        "pseudo", with_model, {**READ, "backend": "nnunet", "options": options}, store, context(tmp_path)
    )
    labels = np.asarray(open_labels(store.path(manifest.key) / "instances.zarr")[:])
    predicted = execute(
        "predict", with_model, {**READ, "version": "M_f-001", "min_voxels": 1}, store, context(tmp_path)
    )
    assert np.array_equal(labels, read_labels(store.path(predicted.key) / "instances.tif")[0]) and labels.any()
    assert manifest.result["backend"] == "nnunet" and manifest.key != predicted.key
    other = execute(
        "pseudo",
        inputs | {"model": [Input(made["_model"], "finetune-2")]},
        {**READ, "backend": "nnunet"},
        store,
        context(tmp_path),
    )
    assert other.key != manifest.key, "another model, another recipe"
