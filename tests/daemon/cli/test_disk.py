"""Where the room went, told by status and doctor."""

from __future__ import annotations

from daemon.usage import FOLDERS, OTHER, RESULTS
from daemon.wording_room import ABOUT

GB = 1_000_000_000
KINDS = {"segmentations": 20 * GB, "cache": 3 * GB, "database": 40_000_000, "queue/": 0}


def test_before_anything_was_measured(alscope, scene):
    found = alscope("status", "--disk")
    assert found.code == 0 and "not measured yet" in found.out
    assert alscope("status", "--json").data["room"] is None
    assert not [check for check in alscope("doctor", "--json").data if check["name"] == "budget"]


def test_the_largest_first_with_what_becomes_of_it(alscope, scene):
    scene.store.room.measured(KINDS, 25 * GB, scene.now - 120)
    lines = alscope("status", "--disk").out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["segmentations", "cache", "database"]
    assert "prediction.keep_models" in lines[1]
    assert lines[-1] == "the workspace takes 23.0 GB of a budget of 25.0 GB, as measured 2 min ago"
    room = alscope("status", "--json").data["room"]
    assert room["kinds"] == KINDS and room["budget_bytes"] == 25 * GB
    assert "23.0 GB of a budget of 25.0 GB: segmentations 20.0 GB, cache 3.0 GB" in alscope("status", "--all").out


def test_doctor_says_it_by_the_budget_of_config_toml(alscope, scene):
    scene.store.room.measured(KINDS, 0, scene.now)
    text = scene.config.read_text()
    for budget, state in (("", "ok"), ("100.0", "ok"), ("24.0", "warn"), ("23.0", "fail")):
        scene.config.write_text(text + (f"[disk]\nbudget_gb = {budget}\n" if budget else ""))
        (check,) = [c for c in alscope("doctor", "--json").data if c["name"] == "budget"]
        assert check["state"] == state and "segmentations 20.0 GB" in check["found"]
        assert bool(check["mend"]) == (state != "ok")


def test_every_kind_is_explained():
    assert {*RESULTS.values(), OTHER, *FOLDERS.values(), "database"} == set(ABOUT)
