"""How new each volume was when it came, and when that is worth a word."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.executors.port import Order
from daemon.policy import FAR, LEAST_KNOWN, NOVELTY_FLOOR, novelty_alarm
from tests.daemon.play import answer_all, events
from tests.pages import rows_of


def test_how_new_a_volume_was_is_recorded_for_many_at_once_and_an_unusual_one_is_told(play):
    far = {"key": ""}

    def change(order: Order, said: dict[str, Any]) -> Any:
        if order.stage == "novelty":
            for number, key in enumerate(order.params["new"]):
                said["novelty"][key] = dict(said["novelty"][key], median=0.1 + 0.001 * number, max=0.95)
            rows = rows_of(order)
            if rows[-1]["embedding"] in order.params["new"] and len(rows) == 10:
                far["key"] = order.params["new"][-1]
                said["novelty"][far["key"]]["median"] = 0.9
        return said

    stage = play(change, encoder={"size": "descriptor", "retrain_growth": 100.0})
    for n in range(9):
        stage.drop(f"v{n:02d}.tif", b"volume %d" % n)
    stage.run()
    orders = [o for o in stage.executor.orders if o.stage == "novelty"]
    assert sum(len(o.params["new"]) for o in orders) == 9
    assert len(orders) <= 3
    stage.drop("zz\x1b[31m.tif", b"another specimen")
    stage.run()
    shot = stage.shot()
    (problem,) = [p for p in shot.problems if p.kind == "novelty"]
    assert problem.subject.startswith("zz")
    assert "half of its patches lie farther than 0.90" in problem.message
    assert sum("unlike everything before it" in message for message in events(stage)) == 1
    volume = stage.store.jobs.by_key(far["key"]).volume_id
    labelled = [s for s in stage.store.labels.current() if s.volume_id == volume]
    assert not labelled
    while answer_all(stage):
        stage.run()
    assert not [p for p in stage.shot().problems if p.kind == "novelty"]  # one of its patches is labelled


def test_after_a_switch_novelty_is_measured_in_portions_each_beside_what_came_before_it(play, monkeypatch):
    monkeypatch.setattr("daemon.planning.pool.NEW_AT_ONCE", 2)
    stage = play(encoder={"size": "descriptor"})
    for n in range(5):
        stage.drop(f"v{n}.tif", b"volume %d" % n)
    stage.run()
    by_key = stage.store.jobs.by_key
    seen: list[int] = []
    (current,) = stage.store.encoders.in_use().values()
    for order in [o for o in stage.executor.orders if o.stage == "novelty"]:
        if by_key(rows_of(order)[0]["embedding"]).inputs["encoder"][0].key != current.artifact:
            continue
        new = [by_key(key).volume_id for key in order.params["new"]]
        assert 1 <= len(new) <= 2
        seen += new
        assert sorted(by_key(row["embedding"]).volume_id for row in rows_of(order)) == sorted(seen)
    assert seen == sorted(seen)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("median", "usual", "alarm"),
    [
        (None, [0.1] * 20, False),
        (0.9, [0.1] * (LEAST_KNOWN - 1), False),
        (0.1 + FAR * NOVELTY_FLOOR - 1e-6, [0.1] * LEAST_KNOWN, False),
        (0.1 + FAR * NOVELTY_FLOOR + 1e-6, [0.1] * LEAST_KNOWN, True),
        (0.5, [0.1, 0.2, 0.3, 0.4] * 5, False),  # a pool of many kinds: nothing is unusual
        (0.0, [0.5] * 20, False),  # known already is no alarm
    ],
)
def test_a_volume_is_unusual_beyond_five_robust_deviations(median, usual, alarm):
    assert bool(novelty_alarm(median, usual)) is alarm
