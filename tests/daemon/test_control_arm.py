"""After every round the labels of both arms are compared, and the answer is told."""

from __future__ import annotations

from typing import Any

from daemon.executors.port import Order
from tests.daemon.play import answer_all, events


def test_after_every_round_the_arms_are_compared_once(play):
    found = {"selected": 0.6, "control": 0.5, "difference": 0.1, "low": 0.02, "high": 0.2, "words": "Selection helps."}

    def change(order: Order, said: dict[str, Any]) -> Any:
        return said | found if order.stage == "control" else said

    stage = play(change, training={"every": 3}, selection={"queue_depth": 6, "control_share": 0.5})
    for n in range(4):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    answer_all(stage)
    stage.run()
    (order,) = [o for o in stage.executor.orders if o.stage == "control"]
    arms = {name: order.params[name] for name in ("selected", "control", "gate")}
    assert sorted(i for rows in arms.values() for i in rows) == list(range(len(order.inputs["label"])))
    sql = "SELECT l.artifact, l.role, s.arm FROM label l JOIN suggestion s ON s.patch_id = l.patch_id"
    truth = {r["artifact"]: "gate" if r["role"] == "gate" else r["arm"] for r in stage.store.state._db.query(sql)}
    assert {order.inputs["label"][i].key: name for name, rows in arms.items() for i in rows} == truth
    assert (stage.shot().control.round, stage.shot().control.difference) == (1, 0.1)
    assert any("after round 1: Selection helps." in message for message in events(stage))
    answer_all(stage)
    stage.run()
    assert [o.params["seed"] for o in stage.executor.orders if o.stage == "control"] == [1, 2]


def test_without_a_control_arm_nothing_is_compared(play):
    stage = play(training={"every": 2}, selection={"queue_depth": 4, "control_share": 0.0})
    stage.drop("a.tif", b"one")
    stage.run()
    answer_all(stage)
    stage.run()
    assert "control" not in stage.stages()
    assert stage.shot().control is None
