"""Stage evaluate: pooled scores are sums of matches; what cannot be scored is refused; a full GPU stops nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from alcore.arrays import matching
from alcore.errors import PermanentError
from alcore.nnunet.fallback import NOTE
from alcore.nnunet.prediction import Predictor
from alcore.run import QuietContext
from alcore.stage import Input
from alcore.stages.evaluate import STAGE
from alcore.volumes.labels import read_labels
from alcore.volumes.writers import write_labels_tiff
from tests.alcore.stages.training_bench import QUICK, VOXEL_UM, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_pseudo_labels_are_scored_by_pooled_matches(bench: Bench) -> None:
    manifest, made = bench.run("evaluate", {"label": bench.labels}, {"iou": 0.5})
    counts = []
    for item in bench.labels:
        pseudo, truth = (read_labels(item.path / name)[0] for name in ("pseudo.tif", "label.tif"))
        counts.append(matching.count(pseudo.astype(np.uint32), truth.astype(np.uint32)))
    assert manifest.result["scores"] == matching.pool(counts).to_json()
    assert [row["label"] for row in manifest.result["per_label"]] == [i.key for i in bench.labels]
    assert [matching.Counts(**row["counts"]) for row in manifest.result["per_label"]] == counts
    assert {row["volume"] for row in manifest.result["per_label"]} == {"0" * 64}
    assert json.loads((made.path / "scores.json").read_text()) == manifest.result
    means = np.mean([c.scores().f1 for c in counts])
    assert manifest.result["scores"]["f1"] != pytest.approx(means)


def test_a_label_without_pseudo_label_is_not_scored_as_empty(bench: Bench, tmp_path: Path) -> None:
    for name in ("image.tif", "label.tif", "label.json"):
        (tmp_path / name).write_bytes((bench.labels[0].path / name).read_bytes())
    bare = Input(tmp_path, "label-bare")
    with pytest.raises(PermanentError, match="none of the held-out labels has a pseudo-label"):
        bench.run("evaluate", {"label": [bare]}, {})
    among = bench.run("evaluate", {"label": [bench.labels[0], bare]}, {})[0].result
    alone = bench.run("evaluate", {"label": [bench.labels[0]]}, {"iou": 0.5})[0].result
    assert among["scores"] == alone["scores"] and [r["label"] for r in among["per_label"]] == [bench.labels[0].key]


def test_nothing_to_score_is_refused(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="held-out"):
        bench.run("evaluate", {"label": []}, {})


def test_what_the_expert_did_not_look_at_counts_for_neither_side(bench: Bench, tmp_path: Path) -> None:
    sparse = Input(tmp_path / "sparse", "label-sparse")
    sparse.path.mkdir()
    for name in ("image.tif", "label.tif", "pseudo.tif", "label.json"):
        (sparse.path / name).write_bytes((bench.labels[1].path / name).read_bytes())
    seen = np.zeros((8, 64, 32), np.uint8)
    seen[3:5] = 1
    write_labels_tiff(sparse.path / "seen.tif", seen, seen.shape, "uint8", VOXEL_UM)
    pseudo, truth = (read_labels(sparse.path / name)[0] for name in ("pseudo.tif", "label.tif"))
    result = bench.run("evaluate", {"label": [sparse]}, {})[0].result
    expected = matching.score(pseudo[3:5].astype(np.uint32), truth[3:5].astype(np.uint32))
    assert result["scores"] == expected.to_json()
    assert expected.dice != matching.score(pseudo.astype(np.uint32), truth.astype(np.uint32)).dice


def test_without_room_on_the_gpu_the_processor_scores_all_that_is_left(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"schedule": {**QUICK, "epochs": 4, "iterations": 8}, "seed": 1, "plan": "tiny"}
    tuned = bench.run("finetune", {"label": bench.labels}, params)[1]
    inputs = {"model": [tuned], "label": bench.labels}
    expected = bench.run("evaluate", inputs, {"min_voxels": 1})[0].result
    assert expected["notes"] == [] and expected["scores"]["n_predicted"] > 0
    made: list[str] = []
    tiles = {"cuda": 0}
    real = Predictor.__init__

    def pretend(self, folder, device, *args):  # type: ignore[no-untyped-def]
        made.append(device)
        real(self, folder, "cpu", *args)
        if device == "cuda":
            self._logits = no_room_later

    def no_room_later(tile):  # type: ignore[no-untyped-def]
        tiles["cuda"] += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Predictor, "__init__", pretend)
    ctx = QuietContext(tmp_path / "scratch", tmp_path / "cache", "cuda")
    for folder in (ctx.scratch, tmp_path / "out"):
        folder.mkdir()
    result = STAGE.run(inputs, {"min_voxels": 1}, tmp_path / "out", ctx)
    assert (made, tiles["cuda"]) == (["cuda", "cpu"], 1), "the GPU is tried once, not again for every patch"
    assert result["notes"] == [NOTE] and result["scores"] == expected["scores"]
    assert [r["counts"] for r in result["per_label"]] == [r["counts"] for r in expected["per_label"]]
