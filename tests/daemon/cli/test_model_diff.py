"""`alscope models diff`: what it compares, what it prints, and what it says when there is nothing to compare."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.volumes.writers import write_labels_tiff


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
