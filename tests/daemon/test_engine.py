"""The engine from the first file to the last prediction, with the science replaced by a script; faults at every step."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import pytest

from daemon import commands
from daemon.executors.port import Finished
from daemon.store.labels import Labels
from daemon.walk import INBOX
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import evaluation, results


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    made = Stage(tmp_path, training={"every": 2}, selection={"queue_depth": 4})
    yield made
    made.store.close()


def test_from_files_to_predictions_without_another_command(stage):
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    shot = stage.shot()
    assert shot.volumes["ingested"] == shot.volumes["pseudo_labelled"] == shot.volumes["embedded"] == 3
    assert [q.ready for q in shot.queue] == [True] * 4
    assert sorted(p.name for p in stage.workspace.queue.iterdir()) == ["s00001", "s00002", "s00003", "s00004"]
    assert [m.version for m in shot.models] == ["M_p-001"]
    answer_all(stage)
    stage.run()
    shot = stage.shot()
    assert shot.labels == {"accepted": 4, "train": 3, "gate": 1, "new": 0, "rejected": 0, "asked": 0}
    assert [r.state for r in shot.rounds] == ["done"]
    assert shot.volumes["predicted"] == 3
    assert sorted(p.name for p in stage.workspace.predictions.iterdir()) == ["v0.tif", "v1.tif", "v2.tif"]
    assert len(shot.queue) == 4  # the next suggestions follow
    assert {q.id for q in shot.queue}.isdisjoint({"s00001", "s00002", "s00003", "s00004"})
    assert sorted(p.name for p in stage.workspace.queue.iterdir()) == sorted(q.id for q in shot.queue)
    assert sorted(p.name for p in stage.workspace.labels.glob("*.tif")) == [f"s0000{n}.tif" for n in range(1, 5)]


def test_nothing_is_done_twice(stage):
    stage.drop("a.tif", b"one")
    stage.run()
    before = stage.stages()
    stage.restart()
    stage.run()
    assert stage.stages() == []
    stage.drop("copy.tif", b"one")
    stage.run()
    assert stage.stages() == ["volume"]  # read once to see that it is the same
    assert stage.shot().volumes["ingested"] == 1
    assert before.count("pseudo") == 1


def test_a_pool_that_is_used_up_is_a_state_of_rest(stage):
    stage.drop("a.tif", b"one")
    stage.run()
    while answer_all(stage):
        stage.run()
    shot = stage.shot()
    assert shot.patches == {"total": 4, "labelled": 4, "held_back": 0}
    assert not shot.queue
    assert not shot.problems or {p.kind for p in shot.problems} == {"daemon"}


def test_a_worse_candidate_never_replaces_the_promoted_model(tmp_path):
    trained: list[str] = []

    def script(order):
        said = results(order)
        if order.stage == "finetune":
            trained.append(order.key)
        if order.stage == "evaluate":
            worse = bool(order.inputs["model"]) and order.inputs["model"][0].key in trained[1:]
            said = evaluation(order, 0.1 if worse else 0.8)
        return said

    stage = Stage(tmp_path, script, training={"every": 1}, selection={"queue_depth": 4})
    for n in range(2):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    for _ in range(2):
        answer_all(stage)
        stage.run()
    shot = stage.shot()
    states = {m.version: m.state for m in shot.models}
    assert states.pop("M_p-001") == "baseline"
    assert states.pop("M_f-001") == "promoted"
    assert set(states.values()) == {"rejected"}
    assert "lower" in shot.rounds[-1].verdict
    assert stage.store.learning.promoted().version == "M_f-001"
    stage.store.close()


def test_a_planted_leak_promotes_nothing(stage, monkeypatch):
    stored = Labels.round_labels

    def leaking(self, number):
        labels = stored(self, number)
        return [dataclasses.replace(label, box=labels[0].box) for label in labels]

    monkeypatch.setattr(Labels, "round_labels", leaking)
    stage.drop("a.tif", b"one")
    stage.run()
    answer_all(stage)
    stage.run()
    shot = stage.shot()
    assert {m.state for m in shot.models if m.kind == "finetuned"} == {"rejected"}
    assert "overlap held-out patches" in shot.rounds[-1].verdict


def test_a_file_that_cannot_be_used_is_set_aside_and_the_rest_goes_on(tmp_path):
    def script(order):
        if order.stage == "volume" and order.inputs["source"][0].path.name == "bad.tif":
            return Finished(order.job_id, order.fence, "failed", "bad.tif: truncated", "unreadable")
        return results(order)

    stage = Stage(tmp_path, script)
    stage.drop("bad.tif", b"bad")
    stage.drop("good.tif", b"good")
    stage.run()
    shot = stage.shot()
    assert shot.volumes["set_aside"] == 1
    assert shot.volumes["ingested"] == 1
    assert [p.message for p in shot.problems if p.kind == "set aside"] == ["bad.tif: truncated"]
    stage.script = stage.executor.script = None or results
    stage.drop("bad.tif", b"now whole")
    stage.run()
    assert stage.shot().volumes["ingested"] == 2
    assert not [p for p in stage.shot().problems if p.kind == "set aside"]
    stage.store.close()


def test_a_rejected_label_is_kept_with_its_reason_and_can_be_mended(tmp_path):
    def script(order):
        if order.stage == "label" and b"wrong" in order.inputs["file"][0].path.read_bytes():
            return Finished(
                order.job_id, order.fence, "failed", "s00001.tif: shape (8, 64, 15), wanted (8, 64, 16)", "bad_label"
            )
        return results(order)

    stage = Stage(tmp_path, script)
    stage.drop("a.tif", b"one")
    stage.run()
    stage.label("s00001", b"wrong")
    stage.run()
    shot = stage.shot()
    assert [(q.state, q.note) for q in shot.queue if q.id == "s00001"] == [
        ("rejected", "s00001.tif: shape (8, 64, 15), wanted (8, 64, 16)")
    ]
    (kept,) = stage.workspace.rejected.glob("*.tif")
    assert kept.read_bytes().startswith(b"wrong")
    assert "wanted (8, 64, 16)" in kept.with_name(kept.name + ".txt").read_text()
    assert (stage.workspace.queue / "s00001").is_dir()
    stage.label("s00001", b"right")
    stage.run()
    assert stage.shot().labels["accepted"] == 1
    stage.store.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s99999.tif", "there is no suggestion 's99999'"),
        ("holiday.jpg", "a label is a TIFF"),
        ("s00001-labels.tif", "is no suggestion 's00001-labels'"),
    ],
)
def test_a_stranger_in_the_inbox_is_set_aside_with_the_reason(stage, name, says):
    path = stage.inbox / name
    path.write_bytes(b"x")
    stage.settled(path, INBOX)
    assert not path.exists()
    assert (stage.workspace.rejected / name).read_bytes() == b"x"
    assert says in (stage.workspace.rejected / f"{name}.txt").read_text()


def test_transient_failures_are_tried_again_and_then_shown(tmp_path):
    tries = []

    def script(order):
        if order.stage == "pseudo":
            tries.append(order.fence)
            return Finished(order.job_id, order.fence, "lost", "the worker died (signal 9)", "transient")
        return results(order)

    stage = Stage(tmp_path, script)
    stage.drop("a.tif", b"one")
    stage.run()
    assert tries == [1, 2, 3]
    (problem,) = [p for p in stage.shot().problems if p.kind == "job"]
    assert "signal 9" in problem.message
    assert "alscope jobs retry" in problem.message
    assert stage.shot().queue  # suggestions do not need pseudo-labels
    stage.store.close()


def test_a_full_disk_holds_everything_up_and_fails_nothing(tmp_path, monkeypatch):
    stage = Stage(tmp_path, run={"min_free_gb": 1.0})
    monkeypatch.setattr("daemon.dispatch.free_gb", lambda path: 0.2)
    stage.drop("a.tif", b"one")
    stage.run()
    assert stage.stages() == []
    assert any("0.2 GB free" in p.message for p in stage.shot().problems)
    monkeypatch.setattr("daemon.dispatch.free_gb", lambda path: 50.0)
    stage.run()
    assert stage.shot().volumes["ingested"] == 1
    assert not [p for p in stage.shot().problems if p.kind == "disk"]
    stage.store.close()


def test_training_gives_way_to_more_urgent_long_work(tmp_path):
    """A pre-training that runs is asked to stop when the encoder, which the queue waits for, is wanted."""
    stage = Stage(
        tmp_path, lambda order: None if order.stage == "pretrain" else results(order), encoder={"min_patches": 8}
    )
    stage.drop("a.tif", b"one")
    stage.run()
    (job,) = stage.store.jobs.running()
    assert job.stage == "pretrain"
    stage.executor.slots[True] = 0
    stage.drop("b.tif", b"two")
    for _ in range(4):
        stage.turn()
    assert stage.executor.stopped == [job.id]  # asked once, however long it takes
    stage.executor.slots[True] = 1
    stage.engine.handle(Finished(job.id, job.fence, "preempted"))
    assert stage.store.jobs.get(job.id).attempts == 0
    stage.run()
    assert stage.stages().index("encoder") < len(stage.stages()) - 1 - stage.stages()[::-1].index("pretrain")
    stage.store.close()


def test_commands_are_obeyed_once_and_answered(stage):
    stage.drop("a.tif", b"one")
    stage.run()
    asked = commands.ask(stage.workspace, "skip", {"id": "s00001", "reason": "out of focus"})
    wrong = commands.ask(stage.workspace, "skip", {"id": "nobody"})
    strange = commands.ask(stage.workspace, "dance", {})
    stage.run()
    outcome = stage.store.state.command_outcome
    assert outcome(asked) == (True, "s00001 skipped")
    assert outcome(wrong)[0] is False
    assert "nobody" in outcome(wrong)[1]
    assert outcome(strange)[0] is False
    assert not list(stage.workspace.commands.iterdir())
    assert "s00001" not in {q.id for q in stage.shot().queue}
    assert not (stage.workspace.queue / "s00001").exists()


def test_pause_starts_nothing_and_resume_goes_on(stage):
    commands.ask(stage.workspace, "pause", {"seconds": 100})
    stage.turn()
    stage.drop("a.tif", b"one")
    for _ in range(5):
        stage.turn()
    assert stage.stages() == []
    commands.ask(stage.workspace, "resume", {})
    stage.run()
    assert "volume" in stage.stages()


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_and_restarts_end_in_the_same_state(tmp_path, seed):
    """Workers die, results come twice, the daemon is killed between any two steps: nothing is lost, doubled or stuck."""
    rng = random.Random(seed)

    def script(order):
        roll = rng.random()
        if roll < 0.15 and order.fence < 3:
            return Finished(order.job_id, order.fence, "lost", "the worker died (signal 9)", "transient")
        if roll < 0.25:
            return Finished(order.job_id, order.fence, "preempted")
        return results(order)

    stage = Stage(tmp_path, script, training={"every": 2}, selection={"queue_depth": 4})
    for n in range(4):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    for step in range(400):
        stage.turn()
        stage.now += rng.choice([0, 1, 700])
        if rng.random() < 0.2:
            stage.restart()
        if rng.random() < 0.1:
            answer_all(stage)
            for path in stage.inbox.glob("*.tif"):
                stage.settled(path, INBOX)
        check_invariants(stage)
        if step > 100 and stage.shot().patches["labelled"] == 16 and not stage.store.learning.active_round():
            break
    stage.run()
    shot = stage.shot()
    assert shot.volumes["ingested"] == shot.volumes["pseudo_labelled"] == shot.volumes["embedded"] == 4
    assert shot.patches == {"total": 16, "labelled": 16, "held_back": 0}
    assert shot.volumes["predicted"] == 4
    assert set(shot.jobs) <= {"done", "cancelled"}
    stage.store.close()


def check_invariants(stage: Stage) -> None:
    db = stage.store.jobs._db
    assert next(db.query("PRAGMA quick_check"))["quick_check"] == "ok"
    for row in db.query("SELECT key FROM job WHERE state = 'done'"):
        assert stage.workspace.artifacts.has(row["key"])
    shot = stage.shot()
    assert sum(m.state == "promoted" for m in shot.models) <= 1
    assert not [p for p in stage.workspace.predictions.iterdir() if p.name.startswith(".")]


def test_many_numbered_single_images_are_asked_about_once(tmp_path):
    """Images of one slice in one folder count; other folders and other names do not."""

    def flat(order):
        result = results(order)
        for volume in result.get("volumes", []):
            volume["info"]["shape"][1] = 1
        return result

    stage = Stage(tmp_path, script=flat)
    (stage.folder / "run5").mkdir()
    for number in range(30):
        stage.drop(f"run5/slice_{number:03d}.tif", b"%d" % number)
        stage.drop(f"other_{chr(97 + number)}.tif", b"other %d" % number)
    stage.run()
    hints = [m for m in events(stage) if "each taken for a volume of one slice" in m]
    assert len(hints) == 1
    assert "name their folder, run5, in `slices`" in hints[0]
    stage.store.close()
