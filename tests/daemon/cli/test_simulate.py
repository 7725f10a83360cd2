"""`alscope simulate`: its options name what there is, and what cannot be played is one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from alcore.arrays.synthetic import em_volume
from alcore.simulation import folder as simulation_folder
from alcore.simulation.choosing import STRATEGIES as OFFERED
from alcore.simulation.engine import Outcome
from alcore.volumes.writers import write_image_tiff, write_labels_tiff
from daemon.cli.main import main
from daemon.cli.simulate import STRATEGIES
from daemon.errors import NoRoomError

VOXEL_UM = (0.05, 0.02, 0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 6 x 96 x 96 with its labels."""
    place = tmp_path_factory.mktemp("labelled")
    image, labels = em_volume((6, 96, 96), VOXEL_UM, np.random.default_rng(0))
    write_image_tiff(place / "image.tif", image[None], VOXEL_UM)
    write_labels_tiff(place / "labels.tif", labels, labels.shape, "uint16", VOXEL_UM)
    return place


def test_the_help_names_every_strategy() -> None:
    assert set(STRATEGIES) == set(OFFERED)


def test_the_command_itself_imports_nothing_heavy(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from daemon.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    out = ["--out", str(tmp_path), "--patch", "6", "500", "500", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, "simulate", str(folder), *out], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "click" in loaded and loaded.isdisjoint({"torch", "numpy", "sklearn", "scipy", "faiss", "nnunetv2"})
    assert "is larger than the volume of 6 x 96 x 96" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 64, "name images and labels in pairs"),
        (["{folder}", "--image", "{folder}/image.tif"], 64, "name images and labels in pairs"),
        (["--image", "{folder}/image.tif"], 65, "1 --image and 0 --labels"),
        (["{folder}", "--budgets", "2,many"], 64, "--budgets '2,many'"),
        (["{folder}", "--missed", "2"], 65, "--missed is a chance"),
        (["{folder}/image.tif"], 65, "no such folder"),
        (["{folder}", "--voxel-um", "0", "0", "0"], 65, "--voxel-um must be three finite lengths above 0"),
        (["{folder}", "--budgets", "0"], 65, "--budgets 0: "),
        (["{folder}", "--pool-size", "2"], 65, "--pool-size 2: "),
        (["{folder}", "--strategies", "best"], 65, "--strategies 'best' does not exist"),
        (["{folder}", "--out", "{folder}/image.tif"], 65, "image.tif: is, or lies below, a file; name a folder"),
        (["{folder}", "--out", "{folder}"], 65, "holds files that no simulation wrote (image.tif, labels.tif)"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    code: int,
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *(a.format(folder=folder) for a in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_full_disk_has_the_exit_code_that_it_has_everywhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(out: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))

    monkeypatch.setattr(simulation_folder, "prepare", full)
    assert main(["simulate", str(folder), "--out", str(tmp_path)]) == NoRoomError.exit_code == 73
    assert "the disk is full" in capsys.readouterr().err


def test_what_is_left_out_or_taken_for_granted_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with one pair of OME-Zarr without a voxel size, and a picture without labels."""
    image, labels = em_volume((6, 96, 96), VOXEL_UM, np.random.default_rng(0))
    data = tmp_path / "data"
    for name, array in (("image", image), ("labels", (labels > 0).astype(np.uint16))):
        write_zarr(data / f"{name}.zarr", array)
    write_image_tiff(data / "b_image.tif", image[None], VOXEL_UM)
    what = ["--strategies", "random", "--seeds", "1", "--regions", "1", "--budgets", "2", "--patch", "6", "12", "12"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alcore.simulation.engine.Engine._shown", lambda *given: Outcome(0, 0, []))
        assert (
            main(["simulate", str(data), *what, "--out", str(data / "out"), "--workers", "1", "--device", "cpu"]) == 0
        )
    left, size, semantic = capsys.readouterr().err.splitlines()
    assert left == f"alscope: left out, without a partner in {data}: b_image.tif"
    assert "image.zarr states no voxel size" in size and "labels.zarr looks like a semantic mask" in semantic


def write_zarr(path: Path, array: np.ndarray) -> None:
    """An OME-Zarr 0.4 whose scale has no unit."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    stored = group.create_array("0", shape=array.shape, chunks=array.shape, dtype=array.dtype)
    stored[...] = array
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]


def test_labels_of_another_shape_are_told_by_the_process_that_reads_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels_tiff(tmp_path / "l.tif", np.ones((6, 96, 90), np.uint16), (6, 96, 90), "uint16", VOXEL_UM)
    pair = ["--image", str(folder / "image.tif"), "--labels", str(tmp_path / "l.tif"), "--patch", "6", "12", "12"]
    assert main(["simulate", *pair, "--out", str(tmp_path / "out"), "--workers", "1"]) == 65
    assert "l.tif: the labels have the shape (6, 96, 90)" in capsys.readouterr().err


@pytest.mark.slow  # the latent map alone is compiled for a quarter of a minute
def test_json_says_where_the_tables_are(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ["--strategies", "random", "--seeds", "1", "--regions", "1", "--budgets", "2", "--patch", "6", "12", "12"]
    assert main(["simulate", str(folder), *what, "--out", str(tmp_path), "--workers", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["rows"] == answer["played"] == 2 and isinstance(answer["warnings"], list)
    assert Path(answer["files"]["results.csv"]).read_text().count("\n") == 3
    assert answer["says"]["fast"]["answer"] and Path(answer["files"]["report.html"]).exists()
