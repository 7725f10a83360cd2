"""queue, volumes, jobs, models, label list: complete, valid JSON, harmless names."""

from __future__ import annotations

import pytest

from tests.daemon.sightings import arriving
from tests.daemon.test_status import CONTROL

LISTS = [["queue"], ["queue", "--qc"], ["volumes"], ["jobs"], ["models"], ["encoders"], ["label", "list"]]
NOTES = {"queue": 2, "queue --qc": 1}
"""Lines below the table that explain its marks."""


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_lists_are_json_and_harmless_text(scene, alscope, command):
    scene.troubled().running()
    assert len(alscope(*command, "--json").data) >= (1 if "--qc" in command else 2)
    done = alscope(*command)
    assert done.code == 0
    assert not CONTROL.search(done.out)
    notes = NOTES.get(" ".join(command), 0)
    assert len(done.out.splitlines()) == len(alscope(*command, "--json").data) + 1 + notes


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_empty_lists_say_what_comes_next(alscope, command):
    assert len(alscope(*command).out.splitlines()) == 1
    assert alscope(*command, "--json").data == []


def test_volumes_say_what_became_of_each_file(scene, alscope):
    scene.troubled()
    by_name = {v["name"]: v for v in alscope("volumes", "--json").data}
    first = by_name["stack_00.tif"]
    assert first["shape"] == [64, 512, 512]
    assert first["voxel_um"] is None
    assert first["n_patches"] == 8
    assert first["prediction"] == str(scene.workspace.predictions / "stack_00.tif")
    assert first["predicted_by"] == "M_f-002"
    assert by_name["stack_01.tif"]["voxel_um"] == [0.05, 0.01, 0.01]
    assert by_name["stack_99.tif"]["reason"].startswith("growing")
    assert [v["name"] for v in alscope("volumes", "--state", "set_aside", "--json").data] == ["cut.tif"]
    out = alscope("volumes").out
    for words in ("64 x 512 x 512", "0.05 x 0.01 x 0.01", "unknown", "6 of 10 planes", "83.0 MB", "✗ set aside"):
        assert words in out


def test_a_file_that_changed_arrives_again_without_its_old_facts(scene, alscope):
    scene.live()
    scene.store.sources.arriving(arriving(bytes(scene.root / "in" / "stack_00.tif")), scene.now)
    (found,) = [v for v in alscope("volumes", "--json").data if v["name"] == "stack_00.tif"]
    assert found["state"] == "arriving"
    assert found["shape"] is None
    assert found["prediction"] is None


def test_jobs_by_state_and_number(scene, alscope):
    scene.troubled()
    assert {j["state"] for j in alscope("jobs", "--state", "failed", "--json").data} == {"failed"}
    assert len(alscope("jobs", "--limit", "2", "--json").data) == 2
    everything = alscope("jobs", "--limit", "0", "--json").data
    assert [j["id"] for j in everything] == sorted((j["id"] for j in everything), reverse=True)
    named = {(j["stage"], j["name"]) for j in everything}
    assert {("finetune", "round 3"), ("suggestions", "3 volumes"), ("predict", "stack_01.tif")} <= named
    assert "pseudo-labelling a[red]b[bold]" in alscope("jobs").out


def test_a_jobs_story_and_log(scene, alscope):
    scene.troubled()
    (failed,) = alscope("jobs", "--state", "failed", "--json").data
    folder = scene.workspace.places.job(failed["id"])
    folder.mkdir()
    (folder / "log.txt").write_bytes(b"first\n" + b"\xff\x1b[31m middle\n" * 100 + b"ValueError: the end\n")
    data = alscope("jobs", "show", str(failed["id"]), "--json").data
    assert [step[2] for step in data["story"]] == ["ready", "running", "failed"]
    assert data["log_tail"][-1] == "ValueError: the end"
    assert len(data["log_tail"]) == 20
    out = alscope("jobs", "show", str(failed["id"])).out
    assert "ready -> running" in out
    assert "ValueError: the end" in out
    assert not CONTROL.search(out)
    assert alscope("jobs", "show", "999").code == 64


def test_one_suggestion_with_its_files(scene, alscope):
    scene.live()
    data = alscope("queue", "show", "s00005", "--json").data
    assert data["files"] == [str(scene.workspace.queue / "s00005" / "image.tif")]
    assert data["save_label_as"] == str(scene.workspace.inbox / "s00005.tif")
    assert "z 0 y 0 x 256, 32 x 256 x 256 voxels" in alscope("queue", "show", "s00005").out
    assert alscope("queue", "show", "s00001").code == 0  # answered ones, too
    wrong = alscope("queue", "show", "s0005")
    assert wrong.code == 64
    assert "did you mean 's00005'?" in wrong.err


def test_why_a_patch_is_suggested_in_words_and_numbers_with_what_is_like_it(scene, alscope):
    scene.live()
    (scene.workspace.queue / "s00006" / "nearest_1.png").write_bytes(b"picture")
    picture = str(scene.workspace.queue / "s00006" / "nearest_1.png")
    data = alscope("queue", "show", "s00006", "--json").data
    assert data["why"] == {"minutes": 3.5, "density": 0.4, "foreground": 0.25}
    assert [(n["suggestion"], n["distance"], n["picture"]) for n in data["neighbours"]] == [("s00001", 0.31, picture)]
    out = alscope("queue", "show", "s00006").out
    for words in (
        "far from the rest",
        "about 4 min for an expert",
        "25% of the voxels",
        "0.40, 1 is the most typical",
        "cosine distance 0.450",
        "s00001 in stack_00.tif at z 0 y 0 x 0, distance 0.310",
        picture,
    ):
        assert words in out


def test_patches_drawn_at_random_are_marked_and_the_mark_is_explained(scene, alscope):
    scene.live()
    by_id = {q["id"]: q for q in alscope("queue", "--json").data}
    assert {i: q["arm"] for i, q in by_id.items()} == {
        f"s0000{n}": "control" if n == 7 else "selected" for n in (5, 6, 7, 8)
    }
    assert {q["minutes"] for q in by_id.values()} == {3.5}
    lines = alscope("queue").out.splitlines()
    assert ["◇" in line for line in lines] == [False, False, False, True, False, True]
    assert "to measure whether selection helps" in lines[-1]
    assert "drawn at random" in alscope("queue", "show", "s00007").out
    assert "drawn at random" not in alscope("queue", "show", "s00008").out


def test_what_looks_broken_is_listed_apart_with_the_reason(scene, alscope):
    scene.troubled()
    (held,) = alscope("queue", "--qc", "--json").data
    assert (held["reason"], held["start"], held["score"]) == ("it is blank", [32, 256, 256], 2.0)
    assert "a[red]b[bold]" in alscope("queue", "--qc").out
    assert "1 patch held back because it looks broken" in alscope("queue").out
    assert held["id"] not in {q["id"] for q in alscope("queue", "--json").data}


def test_encoders_say_which_one_selects_and_why_one_was_refused(scene, alscope):
    scene.troubled()
    data = alscope("encoders", "--json").data
    states = [(e["version"], e["kind"], e["state"]) for e in data]
    assert states == [("E-003", "mae", "rejected"), ("E-002", "mae", "current"), ("E-001", "descriptor", "retired")]
    assert data[1]["result"]["selftest"]["self_retrieval"] == 1.0
    out = alscope("encoders").out
    assert "self-retrieval 0.41, at least 0.95" in out
    assert "✓ selects" in out
    assert "self-retrieval 1.00, effective rank 23" in out
    assert "nothing heeds" not in out
    scene.config.write_text(scene.config.read_text() + '\n[encoder]\nsize = "descriptor"\nmask_ratio = 0.5\n')
    assert "nothing heeds encoder.mask_ratio" in alscope("encoders").out


def test_how_new_a_volume_was_is_said(scene, alscope):
    scene.troubled().running()
    hostile = next(v for v in alscope("volumes", "--json").data if v["name"].startswith("a[red]"))
    assert (hostile["novelty"], hostile["novelty_max"], hostile["duplicates"]) == (0.7, 0.9, 0)
    line = next(line for line in alscope("volumes").out.splitlines() if line.startswith("a[red]"))
    assert "0.70" in line
    assert "unlike everything before it" in line


def test_models_newest_first_with_scores(scene, alscope):
    scene.live()
    data = alscope("models", "--json").data
    assert [m["version"] for m in data] == ["M_f-002", "M_f-001"]
    assert "0.612" in alscope("models").out
