"""The package for bioimage.io is valid, its weights load without us, and its test tensors come out of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alcore.arrays.instancing import connected_components
from alcore.export.bioimage import Credits, export_bioimage, preprocessed
from alcore.nnunet import training
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, case


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    for name in ("scratch", "out"):
        (root / name).mkdir()
    ctx = QuietContext(root / "scratch", root / "cache")
    cases = [case(1)]
    designed = training.design(PlanRequest("tiny", (1, 2, 2)), cases, ctx)
    training.train(designed, training.Mixture(cases), QUICK, 0, None, root / "out", ctx, {})
    export_bioimage(root / "out", root / "package", "M_f-001", Credits(["Ana"], "CC-BY-4.0"))
    return root / "package"


VALIDATE = """
import importlib.util, sys, importlib.machinery

class Mended(importlib.machinery.SourceFileLoader):
    # bioimageio.spec 0.5.12 hands a serializer of pydantic an argument that pydantic 2.14 takes for something else
    def get_data(self, path):
        return super().get_data(path).replace(b"info,  # pyright: ignore[reportArgumentType]  # taken from", b"# from")

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("bioimageio.spec."):
            found = importlib.machinery.PathFinder.find_spec(name, path)
            if found is not None and str(found.origin).endswith(".py"):
                found.loader = Mended(name, found.origin)
            return found

sys.meta_path.insert(0, Finder())
from bioimageio.spec import load_description
found = load_description(sys.argv[1])
assert found.validation_summary.status != "failed", found.validation_summary.format()
assert found.weights.torchscript is not None
from bioimageio.core import test_model
summary = test_model(found, weight_format="torchscript", devices=["cpu"])
assert summary.status == "passed", summary.format()
"""


def validated(package: Path) -> subprocess.CompletedProcess[str]:
    for name in ("bioimageio.spec", "bioimageio.core"):
        pytest.importorskip(name, reason=f"{name} comes with the extra micro-sam")
    command = [sys.executable, "-c", VALIDATE, str(package / "rdf.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_package_is_valid_and_predicts_its_test_tensor(package: Path) -> None:
    done = validated(package)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_a_test_tensor_of_another_model_is_noticed(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path / "damaged")
    path = tmp_path / "damaged" / "test_output.npy"
    np.save(path, np.load(path)[:, ::-1])
    rdf = tmp_path / "damaged" / "rdf.yaml"
    page = json.loads(rdf.read_text())
    page["outputs"][0]["test_tensor"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    rdf.write_text(json.dumps(page))
    assert "AssertionError" in validated(tmp_path / "damaged").stderr


def test_larger_images_go_through_as_well(package: Path) -> None:
    import torch

    script = torch.jit.load(package / "weights.pt")
    image = np.load(package / "test_input.npy")
    larger = np.concatenate([image, image[..., ::-1]], axis=-1)
    out = script(torch.from_numpy(preprocessed(larger))).detach().numpy()
    assert out.shape == (1, 2, *larger.shape[2:])
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


def test_objects_come_out_of_its_classes(package: Path) -> None:
    """The attached script, as somebody would use it who has nothing of ours."""
    use = (
        "import json, sys; import numpy as np; sys.path.insert(0, sys.argv[1]); from objects import objects;"
        "about = json.load(open(sys.argv[1] + '/about.json'));"
        "p = np.load(sys.argv[1] + '/test_output.npy')[0];"
        "ids = objects(p.argmax(axis=0).astype(np.uint8), about | {'min_voxels': 20});"
        "print(int(ids.max()), int((ids > 0).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", use, str(package)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    probabilities = np.load(package / "test_output.npy")[0]
    expected = connected_components(probabilities.argmax(axis=0), 20)
    assert done.stdout.split() == [str(expected.max()), str((expected > 0).sum())]
    listed = {a["source"] for a in json.loads((package / "rdf.yaml").read_text())["attachments"]}
    assert listed == {"about.json", "objects.py"}
