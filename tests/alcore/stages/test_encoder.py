"""Stages encoder and volume together: trained, tested, published; or rejected, stopped and continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from alcore.arrays.synthetic import em_volume
from alcore.artifact import ArtifactStore
from alcore.encoder import checkpoint
from alcore.errors import EncoderRejectedError, PermanentError, Preempted
from alcore.run import QuietContext, execute, stage
from alcore.stage import Input

PARAMS: dict[str, Any] = {
    "kind": "mae",
    "size": "micro",
    "epochs": 2,
    "warmup_epochs": 1,
    "base_lr": 0.064,
    "weight_decay": 0.05,
    "mask_ratio": 0.75,
    "image_px": 64,
    "batch": 8,
    "max_slices": 48,
    "seed": 0,
}
Array = np.ndarray[Any, Any]


class Bench:
    """A workspace with volumes in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ArtifactStore(root / "artifacts")
        self.volumes: list[Input] = []
        self.sources: list[Input] = []

    def add(self, image: Array, patch: tuple[int, int, int] = (8, 48, 48), axes: str = "ZYX") -> None:
        """Write and ingest one more volume."""
        path = self.root / f"v{len(self.sources)}.ome.tif"
        tifffile.imwrite(path, image, metadata={"axes": axes})
        source = Input(path, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
        read = {"channels": [0, 1], "together": True} if "C" in axes else {}
        params = {
            "read": read,
            "voxel_um": None,
            "patch": {"shape_px": list(patch)},
            "fingerprint": None,
            "limit_gb": 1.0,
        }
        made = execute("volume", {"source": [source]}, params, self.store, self.context())
        self.sources.append(source)
        self.volumes.append(Input(self.store.path(made.key), made.key))

    def context(self, name: str = "scratch") -> QuietContext:
        """A context with a scratch folder of that name."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return QuietContext(folder, folder)

    def train(self, ctx: QuietContext | None = None, read: dict[str, Any] | None = None, **params: Any) -> Any:
        """Run the stage encoder on all volumes; the manifest."""
        inputs = {"volume": self.volumes, "source": self.sources}
        reads = [read or {}] * len(self.volumes)
        return execute("encoder", inputs, {**PARAMS, "read": reads, **params}, self.store, ctx or self.context())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    for seed in range(2):
        made.add(em_volume((8, 144, 144), (0.04, 0.01, 0.01), np.random.default_rng(seed))[0])
    return made


def test_a_published_encoder(bench: Bench) -> None:
    made = bench.train()
    folder = bench.store.path(made.key)
    assert set(made.files) == {"encoder.safetensors", "encoder.json", "selftest.json"}
    result = made.result
    assert (result["kind"], result["size"], result["dim"], result["pooling"]) == ("mae", "micro", 96, "mean")
    assert (result["image_px"], result["token_px"], result["n_slices"]) == (48, 8, 48)
    assert result["selftest"]["self_retrieval"] >= 0.9
    assert result["selftest"]["failures"] == []
    about = json.loads((folder / "encoder.json").read_text())
    assert about["kind"] == "mae"
    assert about["design"]["channels"] == 1
    assert about["training"]["seed"] == 0
    assert about["training"]["losses"] == [result["loss_first"], result["loss_last"]]
    tested = json.loads((folder / "selftest.json").read_text())
    assert tested == result["selftest"]
    assert tested["n_slices"] >= 32
    assert tested["order_difference"] <= tested["thresholds"]["order_difference"]


def test_a_descriptor_is_there_in_seconds(bench: Bench) -> None:
    """Through the same files, standardisation and gate; twice the same to the byte, and embedding reads it."""
    made = bench.train(kind="descriptor")
    assert set(made.files) == {"encoder.json", "selftest.json"}
    result = made.result
    assert (result["kind"], result["size"], result["dim"], result["image_px"]) == ("descriptor", "descriptor", 176, 48)
    assert result["selftest"]["failures"] == []
    assert result["selftest"]["self_retrieval"] >= 0.95
    assert "loss_last" not in result
    first, bench.store = bench.store, ArtifactStore(bench.root / "elsewhere")
    again = bench.train(kind="descriptor")
    assert again.files == made.files
    inputs = {
        "encoder": [Input(first.path(made.key), made.key)],
        "volume": bench.volumes[:1],
        "source": bench.sources[:1],
    }
    embedded = execute("embedding", inputs, {"read": {}}, first, bench.context())
    assert embedded.result == {"n": 9, "dim": 176, "flat": []}


@pytest.mark.parametrize("kind", ["mae", "descriptor"])
def test_mean_and_spread(bench: Bench, kind: str) -> None:
    """Twice the dimensions; with volumes of one slice there is no spread, and that is no reason to fail."""
    made = bench.train(kind=kind, pooling="mean_std")
    about = json.loads((bench.store.path(made.key) / "encoder.json").read_text())
    dim = made.result["dim"]
    assert dim == 2 * (96 if kind == "mae" else 176) == len(about["standardisation"]["mean"])
    assert about["pooling"] == "mean_std"
    inputs = {
        "encoder": [Input(bench.store.path(made.key), made.key)],
        "volume": bench.volumes[:1],
        "source": bench.sources[:1],
    }
    embedded = execute("embedding", inputs, {"read": {}}, bench.store, bench.context())
    assert embedded.result == {"n": 9, "dim": dim, "flat": []}


def test_flat_images_have_no_spread(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    image = em_volume((2, 144, 144), (0.04, 0.01, 0.01), np.random.default_rng(0))[0]
    bench.add(image[:1], patch=(1, 48, 48))
    made = bench.train(kind="descriptor", pooling="mean_std")
    about = json.loads((bench.store.path(made.key) / "encoder.json").read_text())
    assert set(about["standardisation"]["std"][176:]) == {1.0}


def test_from_weights_of_timm(bench: Bench) -> None:
    """A file of random weights as timm writes it: the encoder starts there, keeps their positions, and says where from."""
    torch.manual_seed(0)
    model = VisionTransformer(img_size=64, patch_size=16, embed_dim=96, depth=4, num_heads=3)
    path = bench.root / "weights.safetensors"
    save_file(model.state_dict(), path)
    made = bench.train(pretrained=str(path), base_lr=1e-9)
    assert made.result["pretrained"]["source"] == str(path)
    about = json.loads((bench.store.path(made.key) / "encoder.json").read_text())
    assert about["design"]["table_grid"] == 4
    kept = load_file(bench.store.path(made.key) / "encoder.safetensors")
    torch.testing.assert_close(kept["table"], model.pos_embed[:, 1:], atol=1e-5, rtol=0)
    with pytest.raises(PermanentError, match=r"weights.safetensors.*set encoder.size to 'micro'"):
        bench.train(pretrained=str(path), size="tiny")


class StopsAfter(QuietContext):
    """Asks to stop at the n-th question."""

    left = 0

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_stopped_twice_the_encoder_is_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once while slices are read (48 of them), once in the second epoch."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    for questions, said in ((10, "slices were read"), (48 + 8, "1 are saved")):
        ctx = StopsAfter(bench.context("stopped").scratch, bench.root)
        ctx.left = questions
        with pytest.raises(Preempted, match=said):
            bench.train(ctx)
    assert (ctx.scratch / stage("encoder").checkpoint).is_file()
    stopped = bench.train(bench.context("stopped"))
    other = ArtifactStore(bench.root / "elsewhere")
    bench.store, first = other, bench.store
    undisturbed = bench.train(bench.context("undisturbed"))
    assert first.path(stopped.key) != other.path(undisturbed.key)
    assert stopped.files == undisturbed.files
    assert stopped.result == undisturbed.result


def test_a_blank_pool_is_rejected_with_the_numbers(tmp_path: Path) -> None:
    """One bright spot in an empty field: no other slice has contrast to be known again by."""
    bench = Bench(tmp_path)
    image = np.full((8, 96, 96), 100, np.uint8)
    image[0, :3, :3] = 255
    bench.add(image)
    for kind, said in (("mae", r"only \d+ different slices .*loss \d"), ("descriptor", r"only \d+ different slices")):
        with pytest.raises(
            EncoderRejectedError, match=f"the {kind} of 1 volumes failed its self-test .*: {said}"
        ) as caught:
            bench.train(kind=kind)
        assert caught.value.detail["selftest"]["failures"]
    assert not list(bench.store.staging.iterdir())


def test_two_channels_and_their_mixture_with_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    image = em_volume((8, 144, 144), (0.04, 0.01, 0.01), np.random.default_rng(0))[0]
    bench.add(np.stack([image, 255 - image[:, ::-1]], axis=1), axes="ZCYX")
    made = bench.train(read={"channels": [0, 1], "together": True}, epochs=1, warmup_epochs=0, max_slices=16)
    assert json.loads((bench.store.path(made.key) / "encoder.json").read_text())["design"]["channels"] == 2
    bench.add(image)
    with pytest.raises(
        PermanentError, match=r"differ in their number of channels \(1 in v1.ome.tif, 2 in v0.ome.tif\)"
    ):
        bench.train(read={"channels": [0, 1], "together": True})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": "giant"}, "size 'giant'"),
        ({"kind": "oracle"}, "kind 'oracle'"),
        ({"pooling": "max"}, "pooling 'max'"),
        ({"kind": "descriptor", "image_px": 30}, "image_px is 30"),
        ({"accumulate": 9}, "accumulate is 9"),
        ({"pretrained": "nowhere.pth"}, "'nowhere.pth' is no file"),
        ({"max_slices": 0}, "max_slices is 0"),
        ({"image_px": 100}, "image_px is 100"),
        ({"epochs": 1, "warmup_epochs": 1}, "warmup_epochs"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    bench = Bench(tmp_path)
    bench.add(np.random.default_rng(0).integers(0, 255, (4, 128, 128)).astype(np.uint8), patch=(4, 128, 128))
    with pytest.raises(PermanentError, match=said):
        bench.train(**change)


@pytest.mark.slow
@pytest.mark.parametrize("edge", [128, 256])
def test_real_em(tmp_path: Path, real_data: Callable[[str], Path], edge: int) -> None:
    """The CPU default on serial block-face EM: learns, and knows every patch again."""
    bench = Bench(tmp_path)
    image = tifffile.imread(real_data("sbem_mito_z010-039") / "image.tif")
    bench.add(image, patch=(30, edge, edge))
    made = bench.train(epochs=10, max_slices=1024)
    assert made.result["selftest"]["self_retrieval"] >= 0.99
    assert made.result["loss_last"] < 0.92
