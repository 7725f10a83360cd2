"""The stage sam_embedding on the real library with a tiny random model: what micro_sam computes, resumed, keyed by model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alcore.annotate.lazy import Features
from alcore.annotate.order import Weights
from alcore.annotate.patch import picture, read_patch
from alcore.annotate.sam import FEATURES, load_predictor, stored_embeddings
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError, Preempted
from alcore.pseudo.warm import forget
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.weights.places import digest
from tests.alcore.pseudo import tiny_sam
from tests.annotate.patches import suggestion

Embed = Callable[..., Path]


class Patience(QuietContext):
    """Stops the stage when it asks for the n-th time."""

    stop_at = 0
    asked = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked == self.stop_at


@pytest.fixture
def ctx(tmp_path: Path) -> Patience:
    (tmp_path / "scratch").mkdir()
    return Patience(tmp_path / "scratch", tmp_path / "cache")


@pytest.fixture
def embed(tmp_path: Path, tiny_weights: Weights, ctx: Patience, monkeypatch) -> Embed:
    """Run the stage on a patch of three slices; returns the folder in which embeddings of the patch lie."""
    tiny_sam.register(monkeypatch)
    package = Input(suggestion(tmp_path / "queue" / "s00001", (3, 48, 64), margin=0), "package-1")

    def run(checkpoint: str = tiny_weights.files[0]) -> Path:
        weights = Input(Path(checkpoint), f"sha256:{digest(Path(checkpoint))}")
        inputs = {"package": [package], "weights": [weights]}
        execute("sam_embedding", inputs, {"model": "vit_b_lm"}, ArtifactStore(tmp_path / "artifacts"), ctx)
        return tmp_path / "cache" / "sam_embeddings" / "package-1"

    yield run
    forget()


def test_it_is_what_micro_sam_computes(embed: Embed, tmp_path: Path, tiny_weights: Weights) -> None:
    from micro_sam.util import precompute_image_embeddings

    stored = stored_embeddings(embed(), tiny_weights, 3)
    assert stored is not None
    planes = picture(read_patch(tmp_path / "queue" / "s00001").image)
    predictor, architecture = load_predictor(tiny_weights, "cpu")
    theirs = precompute_image_embeddings(predictor, planes, ndim=3, verbose=False)
    assert architecture == "vit_b" and stored.shape == theirs["features"].shape
    assert np.allclose(stored, theirs["features"], atol=1e-5)
    assert not any((tmp_path / "scratch").iterdir())


def test_a_stopped_job_goes_on_with_the_next_slice(
    embed: Embed, ctx: Patience, tiny_weights: Weights, tmp_path
) -> None:
    ctx.stop_at = 3
    with pytest.raises(Preempted, match="2 of 3"):
        embed()
    folder = tmp_path / "cache" / "sam_embeddings" / "package-1"
    assert stored_embeddings(folder, tiny_weights, 3) is None, "what is not whole is not there"
    ctx.asked, ctx.stop_at = 0, 0
    assert stored_embeddings(embed(), tiny_weights, 3) is not None
    assert ctx.asked == 1, "only the slice that was missing"


def test_embeddings_of_another_model_or_depth_or_half_of_them_are_not_taken(
    embed: Embed, tiny_weights: Weights, tmp_path: Path
) -> None:
    folder = embed()
    assert stored_embeddings(folder, tiny_weights, 4) is None
    other = Weights("vit_b_lm", (tiny_weights.files[1],))
    assert stored_embeddings(folder, other, 3) is None
    (place,) = folder.iterdir()
    content = (place / FEATURES).read_bytes()
    (place / FEATURES).write_bytes(content[:-1000])
    assert stored_embeddings(folder, tiny_weights, 3) is None
    (place / FEATURES).write_bytes(content)
    (place / "about.json").unlink()
    assert stored_embeddings(folder, tiny_weights, 3) is None


def test_a_file_that_is_no_model_is_permanent(embed: Embed, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    with pytest.raises(PermanentError, match="no checkpoint that holds weights alone"):
        embed(str(tmp_path / "model"))


def test_slices_are_computed_when_they_are_first_asked_for() -> None:
    told: list[str] = []

    def compute(z: int) -> np.ndarray:
        told.append(f"computing {z}")
        return np.full((1, 256, 64, 64), z, np.float32)

    features = Features(3, None, compute, lambda z: told.append(f"before {z}"), lambda z: told.append(f"after {z}"))
    assert features.ndim == 5 and features[2].max() == 2 and features[2].shape == (1, 256, 64, 64)
    features[2][:] = 9
    assert features[2].max() == 2, "what the caller does to it stays with the caller"
    assert told == ["before 2", "computing 2", "after 2"]
    stored = Features(3, np.ones((3, 1, 256, 64, 64), np.float32), compute, print, print)
    assert stored[1].flags.writeable and len(told) == 3
    assert Features(1, None, compute, lambda z: None, lambda z: None)[:].shape == (1, 256, 64, 64)


def test_the_record_says_where(embed: Embed, tmp_path: Path) -> None:
    (place,) = embed().iterdir()
    (record,) = (tmp_path / "artifacts").glob("*/sam_embedding-*/embedding.json")
    assert json.loads(record.read_text()) == {"slices": 3, "model": "vit_b_lm", "folder": place.name}
