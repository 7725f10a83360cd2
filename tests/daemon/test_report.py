"""The report after every round: made once, of its parts, published whole, and cleared when a newer one is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.executors.port import Finished, Order
from daemon.reporting.publish import publish
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import results

REPORTING = ("latent_map", "gate_pictures", "report")


def scored(order: Order) -> dict[str, object]:
    """As the scripted executor, with scores of every held-out label."""
    found = results(order)
    if order.stage == "evaluate":
        found["per_label"] = [row | {"scores": {"dice": 0.5, "f1": 0.4}} for row in found["per_label"]]
    return found


def until_round(stage: Stage, number: int) -> None:
    """Answer whatever is asked until this round has ended and nothing is left to do."""
    for n in range(20):
        stage.run()
        rounds = stage.shot().rounds
        if len(rounds) >= number and rounds[number - 1].finished_at is not None:
            return
        stage.drop(f"more_{number}_{n}.tif", f"content {number} {n}".encode())
        stage.run()
        answer_all(stage)
    raise AssertionError(f"round {number} does not end")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    encoder = {"size": "descriptor", "retrain_growth": 50.0}
    made = Stage(tmp_path, scored, training={"every": 2}, selection={"queue_depth": 4}, encoder=encoder)
    for i in range(2):
        made.drop(f"v{i}.tif", f"volume {i}".encode())
    return made


def asked(stage: Stage) -> list[str]:
    return [name for name in stage.stages() if name in REPORTING]


def test_it_is_written_once_after_a_round_of_its_parts_and_not_for_every_new_patch(stage: Stage) -> None:
    stage.run()
    assert asked(stage) == [], "there was no round yet"
    until_round(stage, 1)
    assert sorted(asked(stage)[:2]) == ["gate_pictures", "latent_map"] and asked(stage)[2:] == ["report"]
    page = stage.workspace.report / "report.html"
    orders = {order.stage: order for order in stage.executor.orders}
    assert page.read_text() == orders["report"].key
    assert (stage.workspace.report / "figures" / "latent_map.svg").is_file()
    assert [i.key for i in orders["report"].inputs["map"]] == [orders["latent_map"].key]
    assert [i.key for i in orders["report"].inputs["gate"]] == [orders["gate_pictures"].key]
    assert any("a report of 4 patches is written" in e for e in events(stage))
    before = page.read_text()
    stage.drop("later.tif", b"later")
    stage.run()
    assert asked(stage).count("report") == 1 and page.read_text() == before


def test_the_next_round_starts_from_the_map_that_is_there_and_clears_what_it_replaces(stage: Stage) -> None:
    until_round(stage, 1)
    first = {order.stage: order.key for order in stage.executor.orders if order.stage in REPORTING}
    until_round(stage, 2)
    maps = [order for order in stage.executor.orders if order.stage == "latent_map"]
    assert [i.key for i in maps[1].inputs["before"]] == [first["latent_map"]]
    assert asked(stage).count("report") == 2
    artifacts = stage.workspace.artifacts
    assert not any(artifacts.has(key) for key in first.values())
    assert all(artifacts.has(order.key) for order in stage.executor.orders[-3:] if order.stage in REPORTING)
    assert (stage.workspace.report / "report.html").read_text() not in first.values()
    stage.run()
    assert asked(stage).count("report") == 2, "what was cleared is not asked for again"


def test_a_part_that_fails_is_missing_in_words_and_the_rest_is_there(tmp_path: Path) -> None:
    def script(order: Order) -> Finished | dict[str, object]:
        if order.stage == "latent_map":
            return Finished(order.job_id, order.fence, "failed", "embedding-1: is damaged", "permanent")
        return scored(order)

    stage = Stage(tmp_path, script, training={"every": 2}, selection={"queue_depth": 4})
    stage.drop("v.tif", b"volume")
    until_round(stage, 1)
    (report,) = [order for order in stage.executor.orders if order.stage == "report"]
    assert report.inputs["map"] == [] and report.inputs["gate"]
    assert "embedding-1: is damaged" in report.params["content"]["notes"]["map"]
    assert (stage.workspace.report / "report.html").is_file()


def test_a_kill_before_it_was_published_loses_nothing(stage: Stage) -> None:
    until_round(stage, 1)
    page = stage.workspace.report / "report.html"
    text = page.read_text()
    page.unlink()
    stage.restart()
    stage.run()
    assert page.read_text() == text and asked(stage) == []


def test_what_a_killed_daemon_had_begun_to_write_is_removed_at_the_next_start(stage: Stage) -> None:
    until_round(stage, 1)
    half = stage.workspace.report / "figures" / ".latent_map.svg.0a1b2c3d.tmp"
    half.write_text("<svg")
    stage.restart()
    stage.run()
    assert not half.exists()
    assert (stage.workspace.report / "report.html").is_file()


def test_one_that_a_person_made_later_stays(stage: Stage, tmp_path: Path) -> None:
    until_round(stage, 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("mine")
    (stage.workspace.report / "notes.txt").write_text("of a person")
    publish(tmp_path / "mine", stage.workspace.report, "report-mine", stage.now + 1)
    stage.restart()
    stage.run()
    assert (stage.workspace.report / "report.html").read_text() == "mine"
    assert not list((stage.workspace.report / "figures").iterdir()), "files of the earlier report are gone"
    assert (stage.workspace.report / "notes.txt").read_text() == "of a person"
    assert json.loads((stage.workspace.report / "report.json").read_text())["key"] == "report-mine"


def test_a_note_that_was_tampered_with_deletes_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    folder, made = tmp_path / "report", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    (made / "report.html").write_text("page")
    names = ["../kept.txt", str(tmp_path / "kept.txt"), 3, None]
    for about in (json.dumps({"files": names}), json.dumps(["x"]), json.dumps({"files": "report.html"}), "{"):
        (folder / "report.json").write_text(about)
        assert publish(made, folder, "report-1", 1.0).read_text() == "page"
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_what_a_job_of_a_report_worked_on_does_not_stay_in_the_database(stage: Stage) -> None:
    until_round(stage, 1)
    rows = stage.store.state._db.query("SELECT inputs, length(params) AS n FROM job WHERE stage = 'report'")
    assert [(r["inputs"], r["n"] < 1000) for r in rows] == [("{}", True)]
