"""`alscope models diff`: what it compares, what it prints, and what it says when there is nothing to compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alcore.volumes.writers import write_labels_tiff
from tests.alcore.stages.training_bench import Bench


@pytest.fixture
def segmented(scene):
    """A scene in which two models have segmented one volume: the second found one object more."""
    scene.live()
    ids = np.zeros((2, 30, 30), np.uint16)
    ids[:, 3:9, 3:9] = 1
    for version in ("M_f-001", "M_f-002"):
        key = scene.artifact(f"predict-{version}-0000")
        folder = scene.workspace.artifacts.path(key)
        folder.mkdir(parents=True)
        write_labels_tiff(folder / "instances.tif", ids, ids.shape, "uint16", None)
        scene.store.predictions._db.execute("DELETE FROM prediction WHERE model = ?", [version])
        scene.store.predictions.add(scene.volumes[0], version, key, int(ids.max()), scene.now)
        ids[:, 20:25, 20:25] = 2
    return scene


def test_objects_of_volumes_are_counted_and_pictured(segmented, alscope, tmp_path):
    out = tmp_path / "pictures"
    told = alscope("models", "diff", "M_f-001", "M_f-002", "--volumes", "--out", str(out), "--json").data
    assert told["on"] == "volumes" and told["total"]["gained"] == 1 and told["total"]["lost"] == 0
    (row,) = told["rows"]
    assert (out / f"{row['name']}.png").is_file() and row["changes"][0]["voxels"] == 50
    done = alscope("models", "diff", "M_f-002", "M_f-001", "--volumes", "--out", str(out))
    assert done.code == 0 and "M_f-001 against M_f-002: 0 gained, 1 lost" in done.out


def test_what_cannot_be_compared_is_one_line(segmented, alscope, tmp_path):
    out = str(tmp_path / "p")
    assert alscope("models", "diff", "M_f-001", "M_f-009", "--out", out).code == 64
    segmented.store.predictions._db.execute("DELETE FROM prediction")
    done = alscope("models", "diff", "M_f-001", "M_f-002", "--volumes", "--out", out)
    assert done.code == 64 and "no volume has segmentations by both M_f-001 and M_f-002" in done.err
    done = alscope("models", "diff", "M_f-001", "M_f-002", "--out", out)  # the labels of a scene have no files
    assert done.code == 73 and "not there any more" in done.err
    assert not (tmp_path / "p").exists(), "a refusal leaves no empty folder behind"
    (tmp_path / "file").write_text("")
    done = alscope("models", "diff", "M_f-001", "M_f-002", "--out", str(tmp_path / "file"))
    assert done.code == 64 and "is no folder" in done.err


@pytest.fixture
def judged(scene, monkeypatch):
    """A real model, and two held-out labels of its data. Returns their folders."""
    bench = Bench(scene.workspace.root)  # its artifacts become those of the workspace
    _, made = bench.pretrain(bench.pseudo)
    scene.artifact(made.key)
    scene.store.learning.add_model("M_p-001", "pretrained", "candidate", made.key, None, [], "", scene.now)
    held = [("s00001", bench.labels[0].path), ("s00002", bench.labels[1].path)]
    monkeypatch.setattr("daemon.store.model_listing.gate_labels", lambda db: [(n, str(p)) for n, p in held])
    monkeypatch.setattr("alcore.artifact.ArtifactStore.path", _path_or(type(bench.store).path))
    return [path for _, path in held]


def _path_or(original):
    """A label artifact of the bench lies where it says."""
    return lambda store, key: Path(key) if key.startswith("/") else original(store, key)


def tell(label, **changes):
    about = json.loads((label / "label.json").read_text())
    (label / "label.json").write_text(json.dumps(about | changes))


def test_a_label_of_other_data_is_left_out_by_name(judged, alscope, tmp_path):
    other = judged[1]
    stats = json.loads((other / "label.json").read_text())["stats"]
    tell(other, stats=stats * 2)  # two channels
    done = alscope("models", "diff", "M_p-001", "M_p-001", "--out", str(tmp_path / "p"))
    assert done.code == 0, done.err
    assert "s00002: left out, 2 channels" in done.err and "but M_p-001 takes 1 channel" in done.err
    assert "s00001" in done.out and "s00002" not in done.out
    told = alscope("models", "diff", "M_p-001", "M_p-001", "--out", str(tmp_path / "p"), "--json").data
    assert [row["name"] for row in told["rows"]] == ["s00001"]
    assert [row["name"] for row in told["left_out"]] == ["s00002"]
    tell(judged[0], voxel_um=[0.4, 0.1, 0.1])
    done = alscope("models", "diff", "M_p-001", "M_p-001", "--out", str(tmp_path / "none"))
    assert done.code == 64 and "no held-out label is of data that both models take: s00001" in done.err
    assert not (tmp_path / "none").exists()
