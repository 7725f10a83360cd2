"""An exported model predicts the same under plain nnU-Net, in processes that cannot import anything of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from alcore.arrays import block_bordercore, matching, normalise
from alcore.arrays.instancing import connected_components
from alcore.export import objects_script, prepare_script
from alcore.export.nnunet_layout import export_nnunet
from alcore.nnunet import training
from alcore.nnunet.binning import upsample
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.model import load_design
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.schedule import Schedule
from alcore.nnunet.tile_sums import classes
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import SPACING, blobs, case

WITHOUT_US = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("alcore", "daemon"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module", params=["components", "border-core", "planes"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose masks have structure: on a binned grid, or of cores and borders on that of the image, or of single planes."""
    root = tmp_path_factory.mktemp("model")
    for name in ("scratch", "out"):
        (root / name).mkdir()
    ctx = QuietContext(root / "scratch", root / "cache")
    cases = [case(s, shape=(1, 64, 64) if request.param == "planes" else (8, 64, 64)) for s in (1, 2)]
    binning = (1, 1, 1) if request.param == "border-core" else (1, 2, 2)
    plan = PlanRequest("tiny", binning, instances="border-core" if request.param == "border-core" else "components")
    designed = training.design(plan, cases, ctx)
    schedule = Schedule(epochs=3, iterations=10, lr=3e-3, validation_iterations=1, checkpoint_s=0.0)
    training.train(designed, training.Mixture(cases), schedule, 0, None, root / "out", ctx, {})
    return root / "out"


PLAIN = Path(os.environ.get("ALSCOPE_PLAIN_PYTHON", sys.executable))
"""A Python where nnunetv2 alone is installed. Without one, ours, where nothing of ours can be imported."""


def fresh(tmp_path: Path, *command: str) -> None:
    """Run a program where only what nnU-Net needs can be imported, and no nnU-Net variable is set."""
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_US)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("nnUNet", "ALSCOPE", "PYTHON"))}
    env |= {f"nnUNet_{name}": str(tmp_path / "empty") for name in ("raw", "preprocessed")}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    env["nnUNet_results"] = str(tmp_path / "exported" / "nnUNet_results")
    done = subprocess.run([str(PLAIN), *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint16"])
def test_plain_nnunet_predicts_the_same(trained: Path, tmp_path: Path, dtype: str) -> None:
    from alcore.nnunet import instances
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    planes = load_design(trained).configuration == "2d"
    shape = (1 if planes else 13, 101, 90)
    image = np.clip(blobs(7, shape, n=20)[0] * 900 + 3000, 0, 65535).astype(dtype)
    tifffile.imwrite(tmp_path / "volume.tif", image[0, 0] if planes else image[0])
    stats = normalise.measure(image, np.random.default_rng(0))
    with nnunet_process(tmp_path / "scratch", "cpu", 1):
        predictor = Predictor(trained, "cpu")
        ours = np.zeros(shape, np.uint8)
        for box, logits in predictor.class_logits(ArrayVoxels(image), stats, SPACING):
            ours[box.slices] = classes(logits)
        objects = instances.segment_patch(predictor, image, stats, SPACING, None)
    assert 0.01 < (ours > 0).mean() < 0.9

    exported = tmp_path / "exported"
    export_nnunet(trained, exported, "M_f-001")
    about = json.loads((exported / "about.json").read_text())
    fresh(tmp_path, "exported/prepare.py", "prepared", "volume.tif")
    program = str(PLAIN.with_name("nnUNetv2_predict"))
    fresh(tmp_path, program, "-i", "prepared", "-o", "predicted", "-d", "1", "-c", about["configuration"], "-p", "plans",
          "-tr", "nnUNetTrainer", "-f", "all", "-device", "cpu", "-npp", "1", "-nps", "1", "--save_probabilities")  # fmt: skip
    seen = tifffile.imread(tmp_path / "predicted" / "volume.tif")
    if "border" in about["classes"]:
        assert (seen == ours).mean() > 0.999
        assert set(np.unique(ours)) == {0, 1, 2}
    else:
        assert seen.shape == (shape[0], 51, 45)  # on the grid of the network
    fresh(tmp_path, "exported/objects.py", "predicted", "objects", "volume.tif")
    theirs = tifffile.imread(tmp_path / "objects" / "volume.tif")
    dice = 2 * ((theirs > 0) & (objects > 0)).sum() / ((theirs > 0).sum() + (objects > 0).sum())
    assert theirs.shape == shape
    assert dice > 0.998  # nnU-Net adds tiles up in half precision
    assert abs(int(theirs.max()) - int(objects.max())) <= 1
    matched = matching.score(theirs, objects, 0.9)
    assert objects.max() > 5 and matched.f1 > 0.95, matched


@pytest.mark.parametrize("in_plane", [None, False, True])
def test_the_script_tells_objects_apart_as_we_do(in_plane: bool | None) -> None:
    """Objects are compared id by id, on patterns of classes of every kind, thin and coreless ones among them."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shape = tuple(int(n) for n in rng.integers(1, 40, 3))
        noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, 3))
        edges = np.quantile(noise, sorted(rng.uniform(0.3, 0.95, 2)))
        found = np.where(noise > edges[1], 1, np.where(noise > edges[0], 2, 0)).astype(np.uint8)
        least, least_core = (int(n) for n in rng.integers(0, 12, 2))
        about = {"min_voxels": least, "least_core": least_core, "border": None}
        if in_plane is None:
            expected = connected_components(found, least)
        else:
            about["border"] = {"px": 2.0, "in_plane": in_plane}
            expected = block_bordercore.instances(found, least, least_core, in_plane)
        np.testing.assert_array_equal(objects_script.objects(found, about), expected)


def test_the_script_finds_the_classes_of_our_voxels() -> None:
    """From probabilities on a binned grid, against what prediction makes of the same logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 7, 9)).astype(np.float32)
    odds = np.exp(logits - logits.max(axis=0))
    about_voxels = np.stack([upsample(k - logits[0], (1, 2, 3))[:, :13, :26] for k in logits[1:]])
    found = objects_script.most_likely(odds / odds.sum(axis=0), (1, 2, 3), (5, 13, 26))
    assert (found == classes(about_voxels)).mean() > 0.9999  # where two are as likely, rounding decides
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("stored", "channels", "expected"),
    [
        ((5, 6), 1, (1, 1, 5, 6)),
        ((4, 5, 6), 1, (1, 4, 5, 6)),
        ((2, 5, 6), 2, (2, 1, 5, 6)),
        ((2, 4, 5, 6), 2, (2, 4, 5, 6)),
    ],
)
def test_the_scripts_agree_on_axes(stored: tuple[int, ...], channels: int, expected: tuple[int, ...]) -> None:
    assert prepare_script.as_volume(np.zeros(stored), channels).shape == expected
    assert objects_script.extent(stored, channels) == expected[1:]
