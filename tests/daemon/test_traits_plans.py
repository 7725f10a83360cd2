"""What selection knows of patches beside their vectors: traits, which it waits for, and predictions."""

from __future__ import annotations

from typing import Any

from daemon.executors.port import Finished, Order
from daemon.planning.selection import PATIENCE_S
from tests.daemon.play import answer_all
from tests.daemon.selection_play import hold, jobs
from tests.pages import rows_of


def test_traits_follow_pseudo_labels_and_suggestions_wait_for_both(play):
    stage = play()
    stage.drop("a.tif", b"one")
    stage.run()
    stages = stage.stages()
    assert stages.index("pseudo") < stages.index("traits") < stages.index("suggestions")
    (order,) = [o for o in stage.executor.orders if o.stage == "suggestions"]
    (row,) = rows_of(order)
    assert {name: stage.store.jobs.by_key(key).stage for name, key in row.items()} == {
        name: name for name in ("embedding", "traits", "volume")
    }


def test_where_pseudo_labelling_failed_there_are_traits_without_and_again_when_it_works(play):
    works = {"on": False}

    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "pseudo" and not works["on"]:
            return Finished(order.job_id, order.fence, "failed", "no such backend", "permanent")
        return said

    stage = play(change)
    stage.drop("a.tif", b"one")
    stage.run()
    assert [bool(o.inputs["pseudo"]) for o in stage.executor.orders if o.stage == "traits"] == [False]
    assert len(stage.shot().queue) == 4
    works["on"] = True
    (failed,) = jobs(stage, "pseudo")
    stage.store.jobs.retry(failed.id, stage.now)
    stage.run()
    assert [bool(o.inputs["pseudo"]) for o in stage.executor.orders if o.stage == "traits"] == [False, True]


def test_slow_pseudo_labels_hold_suggestions_up_for_two_minutes_and_no_longer(play):
    stage = play(hold("pseudo"))
    stage.drop("a.tif", b"one")
    for _ in range(20):
        stage.turn()
    assert "suggestions" not in stage.stages()
    stage.now += PATIENCE_S + 1
    stage.turn()
    (order,) = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert ["traits" in row for row in rows_of(order)] == [False]


def learn(stage) -> None:
    """Two rounds with labels of three volumes."""
    for n in range(3):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    for _ in range(2):
        answer_all(stage)
        stage.run()


def test_a_model_that_never_passed_the_gate_does_not_steer_the_selection(play):
    stage = play(training={"every": 2, "gate_min_patches": 5})
    learn(stage)
    promoted = stage.store.learning.promoted()
    assert promoted.n_labels > 0
    assert "ungated" in promoted.ruling
    orders = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert any("prediction" in row for row in rows_of(orders[-1]))
    assert {o.params["n_gated"] for o in orders} == {0}


def test_predictions_of_the_promoted_model_reach_the_selection(play):
    stage = play(training={"every": 2, "gate_min_patches": 2, "gate_share": 0.4})
    learn(stage)
    orders = [o for o in stage.executor.orders if o.stage == "suggestions"]
    assert orders[0].params["n_gated"] == 0
    assert not any("prediction" in row for row in rows_of(orders[0]))
    last = orders[-1]
    promoted = stage.store.learning.promoted()
    assert promoted.ruling == "not worse"
    assert last.params["n_gated"] == promoted.n_labels > 0
    used = {row["embedding"]: row["prediction"] for row in rows_of(last) if "prediction" in row}
    assert used
    for embedding, prediction in used.items():
        by_key = stage.store.jobs.by_key
        assert by_key(embedding).volume_id == by_key(prediction).volume_id
