"""`alscope label` on what was looked at, undo, import and export: the words, the exit codes, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli.label_export import FILES


def add(alscope, file: Path, *more: str):
    file.write_bytes(b"good")
    return alscope("label", "add", str(file), "--for", "s00005", *more)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (("--seen-slices", "0-15"), {"z": [0, 15]}),
        (("--seen-slices", "7"), {"z": [7, 7]}),
        (("--roi", "0-7, 20-99,0-63"), {"box": [[0, 7], [20, 99], [0, 63]]}),
    ],
)
def test_what_was_looked_at_is_said_with_the_label(scene, alscope, attended, tmp_path, options, seen):
    scene.live()
    with attended() as attendant:
        assert add(alscope, tmp_path / "mine.tif", *options).code == 0
    assert attendant.notes == [{"empty": False, "user": "", "seen": seen}]


@pytest.mark.parametrize(
    "options",
    [
        ("--seen-slices", "a-b"),
        ("--seen-slices", "-3"),
        ("--seen-slices", "1-2,3-4"),
        ("--seen-slices", ""),
        ("--roi", "0-7"),
        ("--roi", "0-7,1-2,3-4,5-6"),
        ("--roi", "0-7,1-2,x"),
        ("--seen-slices", "0-1", "--roi", "0-1,0-1,0-1"),
    ],
)
def test_nonsense_about_what_was_looked_at_is_refused_before_anything_is_written(scene, alscope, tmp_path, options):
    scene.live()
    done = add(alscope, tmp_path / "mine.tif", *options)
    assert done.code == 64
    assert "--seen-slices" in done.err or "--roi" in done.err
    assert not list(scene.workspace.inbox.iterdir())
    assert not list(scene.workspace.commands.iterdir())


def test_a_mask_of_what_was_looked_at_goes_before_its_label(scene, alscope, tmp_path):
    scene.live()
    (tmp_path / "roi.nii.gz").write_bytes(b"mask")
    done = add(alscope, tmp_path / "mine.tif", "--seen", str(tmp_path / "roi.nii.gz"), "--no-wait")
    assert done.code == 0
    found = {p.name: p for p in scene.workspace.inbox.iterdir()}
    assert {name: p.read_bytes() for name, p in found.items()} == {"s00005.seen.nii.gz": b"mask", "s00005.tif": b"good"}
    assert found["s00005.seen.nii.gz"].stat().st_mtime_ns <= found["s00005.tif"].stat().st_mtime_ns


@pytest.mark.parametrize(
    ("mask", "code", "says"),
    [("nowhere.tif", 64, "no such file"), ("roi.png", 64, "a label is a"), ("roi.tif", 73, "waits")],
)
def test_a_mask_that_cannot_be_taken_takes_no_label_either(scene, alscope, tmp_path, mask, code, says):
    scene.live()
    for name in ("roi.png", "roi.tif"):
        (tmp_path / name).write_bytes(b"mask")
    (scene.workspace.inbox / "s00005.seen.tif").write_bytes(b"of somebody else")
    done = add(alscope, tmp_path / "mine.tif", "--seen", str(tmp_path / mask))
    assert done.code == code
    assert says in done.err
    assert [p.read_bytes() for p in scene.workspace.inbox.iterdir()] == [b"of somebody else"]
    assert not list(scene.workspace.commands.iterdir())


@pytest.mark.parametrize(
    ("name", "code"), [("a.nii.gz", 0), ("a.nrrd", 0), ("a.ome.tif", 0), ("a.mha", 64), ("a.gz", 64)]
)
def test_formats(scene, alscope, tmp_path, name, code):
    scene.live()
    done = add(alscope, tmp_path / name)
    assert done.code == code, done.err
    assert [p.name for p in scene.workspace.inbox.iterdir()] == ([f"s00005{name[1:]}"] if code == 0 else [])
    if code == 0:
        again = add(alscope, tmp_path / "other.tif")
        assert (again.code, "a label waits there" in again.err) == (73, True), "in whatever format"


def test_undo_says_what_counts_now(scene, alscope, attended):
    scene.live()
    labelled = alscope("label", "list", "--json").data
    name = next(x["suggestion"] for x in labelled if x["current"])
    with attended():
        done = alscope("label", "undo", name)
        assert done.code == 0, done.err
        assert f"the newest label of {name} is withdrawn" in done.out
        assert alscope("label", "undo", name).code == 1
        assert "no label that could be undone" in alscope("label", "undo", name).err
        assert alscope("label", "undo", "s77777").code == 64
    (row,) = [x for x in alscope("label", "list", "--json").data if x["suggestion"] == name]
    assert (row["withdrawn"], row["current"], row["state"]) == (True, False, "accepted")
    assert "withdrawn" in alscope("label", "list").out


def test_an_import_that_cannot_be(scene, alscope, tmp_path):
    scene.live()
    mask = tmp_path / "truth.tif"
    mask.write_bytes(b"mask")
    assert "no such file" in alscope("label", "import", str(tmp_path / "no.tif"), "--volume", "a.tif").err
    name = next(v["name"] for v in alscope("volumes", "--json").data if v["sha256"])
    near = alscope("label", "import", str(mask), "--volume", name[:-1] + "x")
    assert (near.code, "did you mean" in near.err or "alscope volumes" in near.err) == (64, True)
    assert alscope("label", "import", str(mask), "--volume", name).code == 69, "the daemon does not run"


def test_export_refuses_a_folder_of_somebody_else_and_says_what_is_missing(scene, alscope, tmp_path):
    scene.live()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused = alscope("label", "export", str(tmp_path / "mine"))
    assert (refused.code, "was not made by an export" in refused.err) == (64, True)
    gone = alscope("label", "export", str(tmp_path / "out"))
    assert (gone.code, "restore them" in gone.err) == (73, True)


def test_export(scene, alscope, tmp_path):
    scene.live()
    for row in scene.store.labels.current():
        folder = scene.workspace.artifacts.path(row.artifact)
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES.values():
            if file != "seen.tif":
                (folder / file).write_bytes(f"{row.artifact} {file}".encode())
        (folder / "label.json").write_text(json.dumps({"n_cut": 2}))
    done = alscope("label", "export", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    assert done.data == json.loads((tmp_path / "out" / "manifest.json").read_text())["labels"]
    for row in done.data:
        assert (tmp_path / "out" / row["label"]).read_bytes().endswith(b"label.tif")
        assert row["seen"] is None
        assert row["n_cut"] == 2
        assert {"volume", "volume_sha256", "start", "shape", "voxel_um", "author", "role"} <= row.keys()
    assert not any("model" in key or "score" in key for row in done.data for key in row)
