"""What lies before people: the share of the control arm, the QC queue, pictures of what is like it."""

from __future__ import annotations

import os
from typing import Any

from daemon import commands
from daemon.arrival import Gone
from daemon.executors.port import Finished, Order
from tests.daemon.play import answer_all, events
from tests.pages import rows_of


def test_the_share_of_the_control_arm_holds_over_time(play):
    stage = play(selection={"queue_depth": 6, "control_share": 0.25})
    for n in range(8):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    shown = []
    while answer_all(stage):
        sql = "SELECT arm FROM suggestion ORDER BY rank"
        arms = [r["arm"] for r in stage.store.state._db.query(sql)]
        shown.append(abs(arms.count("control") - 0.25 * len(arms)))
        stage.run()
    assert len(arms) == 32
    assert arms.count("control") == 8
    assert max(shown) < 1


def test_what_looks_broken_is_not_queued_and_a_person_can_say_that_it_is_fine(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "suggestions":
            first = rows_of(order)[0]["embedding"]
            covered = order.params["covered"].get(first, [])
            bad = [row for row in (0, 1) if row not in covered]
            said["suggestions"] = [
                s for s in said["suggestions"] if (s["embedding"], s["row"]) not in ((first, 0), (first, 1))
            ]
            said["qc"] = [{"embedding": first, "row": row, "reason": f"blank {row}", "score": 2.0} for row in bad]
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    shot = stage.shot()
    assert [q.start[2] for q in shot.queue] == [32, 48]
    assert shot.patches["held_back"] == 2
    assert any("2 patches held back because they look broken" in message for message in events(stage))
    (queued,) = [message for message in events(stage) if "queued for the expert" in message]
    assert queued == "2 patches queued for the expert: s00001 to s00002"
    answers = {}
    for name in ("q00001", "q00001", "q99999", "s00001", "q", "q" + "9" * 40, "q²"):
        asked = commands.ask(stage.workspace, "qc-ok", {"id": name})
        stage.run()
        answers.setdefault(name, []).append(stage.store.state.command_outcome(asked))
    assert answers["q00001"][0] == (True, "q00001 is suggested as s00003")
    assert [ok for name, said in answers.items() for ok, _ in said] == [True] + [False] * 6
    shot = stage.shot()
    assert [(q.id, q.arm, q.start[2]) for q in shot.queue if q.arm == "asked"] == [("s00003", "asked", 0)]
    assert "it was held back: blank 0" in shot.queue[-1].reason
    assert shot.patches["held_back"] == 1
    assert all(q.ready for q in shot.queue)


def test_what_the_last_draw_did_not_look_at_stays_held_back(play):
    asked = []

    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "suggestions":
            first = rows_of(order)[0]["embedding"]
            asked.append(order)
            if len(asked) == 1:
                said["suggestions"] = [s for s in said["suggestions"] if (s["embedding"], s["row"]) != (first, 0)]
                said["qc"] = [{"embedding": first, "row": 0, "reason": "blank", "score": 2.0}]
            else:
                said["suggestions"], said["judged"] = [], {} if len(asked) == 2 else {first: [0]}
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    assert stage.shot().patches["held_back"] == 1
    answer_all(stage)
    stage.run()
    assert len(asked) == 2
    assert stage.shot().patches["held_back"] == 1, "it was not among those looked at"
    stage.drop("b.tif", b"two")
    stage.run()
    assert len(asked) == 3
    assert [len(order.params["held"]) for order in asked] == [0, 1, 1]
    assert stage.shot().patches["held_back"] == 0


def test_the_folder_of_a_suggestion_shows_the_labelled_patches_most_like_it(play):
    stage = play()
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    answer_all(stage)
    stage.run()
    later = [o for o in stage.executor.orders if o.stage == "package"][4:]
    assert later
    for order in later:
        assert [n["suggestion"] for n in order.params["neighbours"]] == ["s00001", "s00002", "s00003"]
        packages = [stage.store.annotation.suggestion(n["suggestion"]).package for n in order.params["neighbours"]]
        assert [i.key for i in order.inputs["neighbour"]] == packages


def test_one_patch_is_told_of_as_one(play):
    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "suggestions":
            at = {"embedding": rows_of(order)[0]["embedding"], "row": 3}
            said["qc"] = [at | {"reason": "blank", "score": 2.0}]
        return said

    stage = play(change, selection={"queue_depth": 1})
    stage.drop("a.tif", b"one")
    stage.run()
    assert "1 patch queued for the expert: s00001" in events(stage)
    assert any(message.startswith("1 patch held back because it looks broken: ") for message in events(stage))


def test_a_file_that_was_away_before_its_folders_were_made_is_asked_about_when_it_is_back(play):
    """What was chosen of it was taken back: the same pool is asked again, as often as that happens."""
    away = {"package"}
    stage = play(lambda order, said: None if order.stage in away else said)
    stage.drop("v.tif", b"volume")
    stage.run()
    path = os.fsencode(stage.folder / "v.tif")
    for _ in range(2):
        stage.engine.sightings([Gone(path, True)])
        for order in [o for o in stage.executor.orders if o.stage == "package"]:
            gone = Finished(order.job_id, order.fence, "failed", "is not there now", "source_missing")
            stage.engine.handle(gone)
        stage.run()
        assert not stage.shot().queue
        stage.engine.sightings([Gone(path, False)])
        stage.run()
        assert len(stage.shot().queue) == 4
    away.clear()
    stage.restart()
    stage.run()
    assert [q.ready for q in stage.shot().queue] == [True] * 4
