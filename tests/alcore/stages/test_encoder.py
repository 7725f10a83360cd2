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

from alcore.arrays.synthetic import em_volume
from alcore.artifact import ArtifactStore
from alcore.errors import EncoderRejectedError, PermanentError, Preempted
from alcore.run import QuietContext, execute
from alcore.stage import Input

PARAMS: dict[str, Any] = {
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
    assert (result["dim"], result["image_px"], result["token_px"], result["n_slices"]) == (96, 48, 8, 48)
    assert result["self_retrieval"] >= 0.9
    about = json.loads((folder / "encoder.json").read_text())
    assert about["design"]["channels"] == 1
    assert about["training"]["seed"] == 0
    assert about["training"]["losses"] == [result["loss_first"], result["loss_last"]]
    tested = json.loads((folder / "selftest.json").read_text())
    assert tested["failures"] == []
    assert tested["n_slices"] >= 32
    assert tested["order_difference"] <= tested["thresholds"]["order_difference"]


class StopsAfter(QuietContext):
    """Asks to stop at the n-th question."""

    left = 0

    def should_stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_stopped_twice_the_encoder_is_the_same(bench: Bench) -> None:
    """Once while slices are read (48 of them), once in the second epoch."""
    for questions, said in ((10, "slices were read"), (48 + 8, "1 are saved")):
        ctx = StopsAfter(bench.context("stopped").scratch, bench.root)
        ctx.left = questions
        with pytest.raises(Preempted, match=said):
            bench.train(ctx)
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
    with pytest.raises(EncoderRejectedError, match=r"failed its self-test .*: only \d+ different slices .*loss \d"):
        bench.train()
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
    assert made.result["self_retrieval"] >= 0.99
    assert made.result["loss_last"] < 0.92
