"""predict: refuses what it must not do before anything heavy is imported; the segmentation itself is tested with nnU-Net."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile

from alcore.volumes import open_volume
from alcore.volumes.labels import read_labels, read_labels_metadata
from alcore.volumes.labels_zarr import read_labels_zarr, write_labels_zarr
from daemon.cli.predict import _bare
from tests.alcore.stages.training_bench import QUICK, READ, SHAPE, VOXEL_UM, Bench


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "other.tif"
    voxels = np.random.default_rng(0).integers(0, 255, (4, 16, 16), dtype=np.uint8)
    tifffile.imwrite(path, voxels, imagej=True, metadata={"axes": "ZYX"})
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_targets_that_would_do_harm(scene, alscope, image, here):
    scene.live()
    watched = scene.root / "in" / "segmented.tif"
    taken = here / "taken.tif"
    taken.write_bytes(b"precious")
    for out, words in (
        (watched, "watched folder"),
        (image, "is the image itself"),
        (taken, "--force"),
        (here / "no" / "x.tif", "no such folder"),
    ):
        done = alscope("predict", str(image), "--out", str(out))
        assert done.code == 64
        assert words in done.err
    (here / "new-uncertainty.tif").write_bytes(b"somebody else's, and in nobody's way")
    assert alscope("predict", str(image), "--out", str(here / "new.tif")).code == 73  # there is no model to do it
    assert taken.read_bytes() == b"precious"
    assert alscope("predict", str(image / "nowhere")).code == 64


def test_models_that_are_not_there(scene, alscope, image, here):
    done = alscope("predict", str(image))
    assert done.code == 64
    assert "no model has been promoted yet" in done.err
    scene.live()
    done = alscope("predict", str(image), "--model", "M_f-009")
    assert done.code == 64
    assert "did you mean 'M_f-00" in done.err


@pytest.fixture
def model(scene):
    """The folder of a promoted model, with a manifest and no weights."""
    scene.live()
    folder = scene.workspace.artifacts.path("finetune-2")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_a_file_that_is_no_volume_leaves_nothing_behind(model, alscope, here):
    broken = here / "broken.tif"
    broken.write_bytes(b"II*\x00" + b"\x00" * 100)
    done = alscope("predict", str(broken))
    assert done.code == 65
    assert "broken.tif" in done.err.splitlines()[-1]
    assert [p.name for p in here.iterdir()] == ["broken.tif"]


def test_a_model_whose_files_are_gone(scene, alscope, image, here):
    scene.live()
    done = alscope("predict", str(image))
    assert done.code == 73
    assert "restore them" in done.err
    assert list(here.iterdir()) == []


def test_a_file_outside_the_loop_is_segmented_with_a_real_model(scene, alscope, here):
    bench = Bench(scene.workspace.root)  # its artifacts become those of the workspace
    _, tuned = bench.run("finetune", {"label": bench.labels}, {"schedule": QUICK, "seed": 1, "plan": "tiny"})
    scene.artifact(tuned.key)
    scene.store.learning.add_model("M_f-001", "finetuned", "candidate", tuned.key, None, [], "", scene.now)
    done = alscope("predict", str(bench.root / "v.tif"), "--model", "M_f-001", "--json")
    assert done.code == 0, done.err
    assert sorted(p.name for p in here.iterdir()) == ["v-instances.csv", "v-instances.tif"]
    instances, _ = read_labels(here / "v-instances.tif")
    assert instances.shape == SHAPE
    with open_volume(here / "v-instances.tif", READ) as reader:
        assert reader.voxel_um == pytest.approx(VOXEL_UM)
    assert read_labels_metadata(here / "v-instances.tif")["model"] == "M_f-001"
    assert done.data["n_objects"] == instances.max()
    assert done.data["path"] == str(here / "v-instances.tif")
    assert table(here / "v-instances.csv") == [str(n) for n in range(1, instances.max() + 1)]
    assert alscope("predict", str(bench.root / "v.tif"), "--model", "M_f-001").code == 64  # it is there now

    # as an OME-Zarr, from an OME-Zarr
    acquisition = scene.root / "other.ome.zarr"
    write_labels_zarr(acquisition, lambda box: bench.image[0][box.slices], SHAPE, "uint8", VOXEL_UM, {}, labels=False)
    done = alscope("predict", str(acquisition), "--model", "M_f-001", "--out", str(here / "b.ome.zarr"), "--json")
    assert done.code == 0, done.err
    assert (read_labels_zarr(here / "b.ome.zarr") == instances).all()
    assert table(here / "b.csv") == table(here / "v-instances.csv")
    inside = alscope("predict", str(acquisition), "--model", "M_f-001", "--out", str(acquisition / "x.tif"))
    assert inside.code == 64 and "lies in the acquisition" in inside.err

    # one of several volumes in a file
    several = scene.root / "several.tif"
    tifffile.imwrite(several, np.stack([bench.image[0]] * 2), imagej=True, metadata={"axes": "TZYX"})
    done = alscope("predict", str(several), "--model", "M_f-001")
    assert done.code == 65
    name = done.err.split("--part: ")[1].split(",")[0]
    wrong = alscope("predict", str(several), "--model", "M_f-001", "--part", "no such")
    assert wrong.code == 65 and name in wrong.err
    done = alscope("predict", str(several), "--model", "M_f-001", "--part", name, "--json")
    assert done.code == 0, done.err
    assert sorted(p.name for p in here.iterdir() if p.name.startswith(("several", "."))) == [
        "several-instances.csv",
        "several-instances.tif",
    ]

    what_the_former_one_left(scene, alscope, here, bench.root / "v.tif")


def what_the_former_one_left(scene, alscope, here, image):
    """Nothing of a segmentation stays beside another one, and nothing goes that was not asked for."""

    def segment(*arguments, settings=""):
        scene.config.write_text(plain + f"[prediction]\n{settings}\n")
        return alscope("predict", str(image), "--model", "M_f-001", *arguments)

    def there(stem):
        return sorted(p.name for p in here.iterdir() if p.name.startswith(stem))

    plain, mapped = scene.config.read_text(), "uncertainty = true"
    tif, zarr = str(here / "c.tif"), str(here / "c.ome.zarr")
    assert segment("--out", tif, settings=mapped).code == 0
    assert there("c") == ["c-uncertainty.tif", "c.csv", "c.tif"]
    assert segment("--out", zarr, settings=mapped).code == 64
    assert segment("--out", zarr, "--force", settings=mapped).code == 0
    assert there("c") == ["c-uncertainty.ome.zarr", "c.csv", "c.ome.zarr"]
    assert segment("--out", tif, "--force").code == 0  # without a map: the former one would be of another segmentation
    assert there("c") == ["c.csv", "c.tif"]

    (here / "e-uncertainty.tif").write_bytes(b"precious")
    done = segment("--out", str(here / "e.tif"), settings=mapped)
    assert done.code == 64 and "e-uncertainty.tif: exists already; use --force" in done.err
    assert segment("--out", str(here / "e.tif"), "--force").code == 0
    assert there("e") == ["e-uncertainty.tif", "e.csv", "e.tif"]  # not written by a model, and not in the way
    assert (here / "e-uncertainty.tif").read_bytes() == b"precious"

    (here / "c.csv").unlink()
    done = segment("--out", zarr)
    assert done.code == 64 and "c.tif: exists already" in done.err  # it would be left without its table
    assert there("v-") == ["v-instances.csv", "v-instances.tif"]
    assert segment("--force", settings="zarr_above_gb = 0").code == 0
    assert there("v-") == ["v-instances.csv", "v-instances.ome.zarr"]

    (here / "d.tif").write_bytes(image.read_bytes())  # an image of that name
    (here / "d.csv").write_text("")
    assert segment("--out", str(here / "d.ome.zarr"), "--force").code == 0
    assert there("d") == ["d.csv", "d.ome.zarr", "d.tif"]
    assert (here / "d.tif").read_bytes() == image.read_bytes()
    image = here / "d.tif"
    assert segment("--out", str(here / "d.ome.zarr"), "--force").code == 0
    assert there("d") == ["d.csv", "d.ome.zarr", "d.tif"]


def table(path):
    with open(path, newline="") as f:
        return [row["id"] for row in csv.DictReader(f)]


def test_every_volume_is_asked_for_by_itself(scene, alscope, image, here):
    for arguments in ([], ["--all", str(image)], ["--all", "--force"], ["--all", "--model", "M_f-001"]):
        assert alscope("predict", *arguments).code == 64
    done = alscope("predict", str(image), "--out", str(here / "x.png"))
    assert done.code == 64 and ".ome.zarr" in done.err
    done = alscope("predict", "--all")
    assert done.code == 69 and "kept" in done.err


def test_the_default_name_is_that_of_the_image(tmp_path):
    (tmp_path / "day.2").mkdir()
    (tmp_path / "b.ome.zarr").mkdir()
    names = {"day.2": "day.2", "b.ome.zarr": "b", "c.ome.tif": "c", "d.1.tif": "d.1", "ome.tif": "ome"}
    assert {name: _bare(tmp_path / name).name for name in names} == names
