"""A real volume in chunks is the whole volume: foreground, ids, table and doubt, to the bit, through the stage and without it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from skimage.measure import regionprops_table

from alcore.arrays import normalise
from alcore.artifact import ArtifactStore
from alcore.nnunet import model, training
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import VolumeInfo
from alcore.volumes.labels import read_labels
from alcore.volumes.writers import write_image_tiff
from tests.alcore.nnunet.nnunet_blobs import QUICK, case

UM = (0.04, 0.0059, 0.0059)
PIECE = (slice(0, 30), slice(300, 460), slice(400, 592))


def files(root: Path, trained: Path, image: np.ndarray, ram_bytes: int, tag: str) -> Path:
    """What the stage makes of the image with so much memory."""
    folder = root / tag
    for name in ("volume", "scratch"):
        (folder / name).mkdir(parents=True)
    write_image_tiff(folder / "v.tif", image, UM)
    z, y, x = image.shape[1:]
    stats = normalise.measure(image, np.random.default_rng(0))
    info = VolumeInfo("0" * 64, (1, z, y, x), str(image.dtype), UM, "file", stats)
    (folder / "volume" / "info.json").write_text(json.dumps(info.to_json()))
    patches = [{"start": [0, 0, 0], "shape": [z, y, x]}, {"start": [3, 40, 50], "shape": [10, 90, 90]}]
    (folder / "volume" / "patches.json").write_text(json.dumps(patches))
    inputs = {
        "model": [Input(trained, "model-key")],
        "volume": [Input(folder / "volume", "volume-key")],
        "source": [Input(folder / "v.tif", "sha256:0")],
    }
    ctx = QuietContext(folder / "scratch", root / "cache", ram_bytes=ram_bytes)
    params = {"read": {}, "version": "M", "min_voxels": 20, "uncertainty": True}
    store = ArtifactStore(folder / "artifacts")
    return store.path(execute("predict", inputs, params, store, ctx).key)


def test_a_real_volume_in_chunks_is_the_whole(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    image = tifffile.imread(real_data("sbem_mito_z010-039") / "image.tif")[None][(slice(None), *PIECE)]
    for name in ("train", "trained"):
        (tmp_path / name).mkdir()
    ctx = QuietContext(tmp_path / "train", tmp_path / "cache")
    cases = [case(s) for s in (1, 2)]
    designed = training.design(PlanRequest("tiny", (1, 2, 2)), cases, ctx)
    training.train(designed, training.Mixture(cases), QUICK, 0, None, tmp_path / "trained", ctx, {})
    whole = files(tmp_path, tmp_path / "trained", image, 4 << 30, "whole")
    chunks = files(tmp_path, tmp_path / "trained", image, 1 << 20, "chunks")
    for name in ("instances.tif", "uncertainty.tif", "patches.npz"):
        assert (whole / name).read_bytes() == (chunks / name).read_bytes(), name
    with open(whole / "objects.csv") as a, open(chunks / "objects.csv") as b:
        one, many = list(csv.DictReader(a)), list(csv.DictReader(b))
    exact = [name for name in one[0] if not name.startswith("mean_intensity")]
    assert [[row[n] for n in exact] for row in one] == [[row[n] for n in exact] for row in many]
    ids, _ = read_labels(whole / "instances.tif")
    assert len(one) == ids.max() > 10
    theirs = regionprops_table(ids.astype(np.int32), image[0], properties=("area", "intensity_mean"), spacing=UM)
    for rows in (one, many):
        np.testing.assert_allclose([float(r["volume_um3"]) for r in rows], theirs["area"], rtol=1e-8)
        np.testing.assert_allclose([float(r["mean_intensity"]) for r in rows], theirs["intensity_mean"], rtol=1e-8)

    # the whole in one piece, without a file or a block anywhere
    from alcore.nnunet.instances import segment_patch
    from alcore.nnunet.prediction import Predictor

    stats = normalise.measure(image, np.random.default_rng(0))
    with nnunet_process(tmp_path / "train", "cpu", 1):
        predictor = Predictor(tmp_path / "trained", "cpu", block_px=(4096, 4096))
        assert (segment_patch(predictor, image, stats, UM, 20) == ids).all()
    assert model.load_design(tmp_path / "trained").binning == (1, 2, 2)
