"""Several people on one queue, with the whole engine: leases and the clock, skips that steer, waiting suggestions looked at again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import commands
from daemon.claims import MOST_STEP_S, lived_s
from daemon.executors.port import Order
from daemon.store.schema_claims import TAKEN_BACK
from daemon.touched import touched
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import results


@pytest.fixture
def play(tmp_path) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(script: Any = None, **options: Any) -> Stage:
        made.append(Stage(tmp_path, script, **({"selection": {"queue_depth": 4}, "training": {"every": 99}} | options)))
        return made[-1]

    yield make
    for stage in made:
        stage.store.close()


def filled(play: Callable[..., Stage], n: int = 2, script: Any = None, **options: Any) -> Stage:
    stage = play(script, **options)
    for i in range(n):
        stage.drop(f"v{i}.tif", b"volume %d" % i)
    stage.run()
    assert [q.ready for q in stage.shot().queue] == [True] * 4
    return stage


def ask(stage: Stage, verb: str, **arguments: Any) -> tuple[bool, str]:
    """Leave a command as a program would, and hear the answer."""
    command = commands.ask(stage.workspace, verb, arguments)
    stage.turn()
    answer = stage.store.state.command_outcome(command)
    assert answer is not None
    return answer


def holders(stage: Stage) -> dict[str, str]:
    return {q.id: q.user for q in stage.shot().queue if q.user}


def live(stage: Stage, seconds: float, step: float = 5.0) -> None:
    for _ in range(round(seconds / step)):
        stage.now += step - 1  # a turn is a second
        stage.turn()


# leases and the clock


def test_a_lease_runs_out_with_the_daemons_own_life(play):
    stage = filled(play, annotation={"lease_min": 2.0})
    assert json.loads(ask(stage, "claim", id=None, user="ana")[1]) == {"id": "s00001"}
    live(stage, 100)
    assert holders(stage) == {"s00001": "ana"}
    assert ask(stage, "renew", id="s00001", user="ana") == (True, "s00001 is yours")
    live(stage, 100)
    assert holders(stage) == {"s00001": "ana"}
    live(stage, 30)
    assert holders(stage) == {}
    assert any("ana has not been heard of: s00001 is back in the queue" in e for e in events(stage))
    assert ask(stage, "renew", id="s00001", user="ana")[0]  # her window was merely asleep, and nobody took it
    assert holders(stage) == {"s00001": "ana"}


@pytest.mark.parametrize("jump", [7 * 86400.0, -7 * 86400.0, 3600.0])
def test_a_clock_that_jumps_takes_no_patch_from_anybody(play, jump):
    stage = filled(play)
    ask(stage, "claim", id="s00002", user="ana")
    stage.now += jump
    live(stage, 20)
    assert holders(stage) == {"s00002": "ana"}
    live(stage, 600)
    assert holders(stage) == {}  # and it does run out, in either new time


def test_a_daemon_that_was_away_takes_no_patch_from_anybody(play):
    stage = filled(play)
    ask(stage, "claim", id="s00002", user="ana")
    live(stage, 300)
    stage.store.close()
    stage.now += 86400
    stage.open()
    live(stage, 100)
    assert holders(stage) == {"s00002": "ana"}
    live(stage, 250)
    assert holders(stage) == {}


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=30))
def test_lived_time_is_never_negative_nor_more_than_what_the_clock_shows(looks):
    """Against the sum of all steps forward, each cut to the most that one look may count."""
    lived = sum(lived_s(a, b) for a, b in zip([None, *looks], looks, strict=False))
    forward = sum(min(max(0.0, b - a), MOST_STEP_S) for a, b in pairwise(looks))
    assert lived == pytest.approx(forward)
    assert lived >= 0


def test_what_the_inbox_takes_ends_the_claim_and_names_the_author(play):
    stage = filled(play)
    ask(stage, "claim", id="s00003", user="ben")
    stage.label("s00003")
    stage.run()
    (received,) = stage.store.labels.received("1 = 1")
    assert (received.author, received.state) == ("ben", "accepted")
    assert holders(stage) == {}


# skip reasons


def orders(stage: Stage, waiting: bool = False) -> list[Order]:
    return [o for o in stage.executor.orders if o.stage == "suggestions" and bool(o.params["waiting"]) == waiting]


def test_reasons_to_skip_steer_what_comes_next(play):
    stage = filled(play, 4)
    kinds = {"s00001": "artefact", "s00002": "nothing here", "s00003": "too hard"}
    for name, kind in kinds.items():
        assert ask(stage, "skip", id=name, user="ana", kind=kind, reason="look") == (True, f"{name} skipped")
    stage.run()
    params = orders(stage)[-1].params
    assert {
        name: sum(len(r) for r in params[name].values()) for name in ("avoid", "nothing", "covered", "labelled")
    } == {
        "avoid": 1,
        "nothing": 1,
        "covered": 4,
        "labelled": 0,
    }
    rows = list(stage.store.annotation._db.query("SELECT id, note FROM suggestion WHERE state = 'skipped' ORDER BY id"))
    assert [r["note"] for r in rows] == ["artefact: look", "nothing here: look", "too hard: look"]
    assert ask(stage, "skip", id="s00004", kind="dull")[0] is False
    gone = "s00001 does not wait any more (skipped); `alscope queue` lists what does"
    assert ask(stage, "skip", id="s00001", user="ana", kind="artefact") == (False, gone)


# waiting suggestions are looked at again


def takes_back(n: int) -> Any:
    """A script whose comparison of what waits takes back the first n of them and offers two others."""

    def script(order: Order) -> Any:
        said = results(order)
        if order.stage == "suggestions" and order.params["waiting"]:
            waiting = [(key, row) for key, rows in order.params["waiting"].items() for row in rows]
            said["taken_back"] = [{"embedding": k, "row": r, "reason": "it is old"} for k, r in waiting[:n]]
        return said

    return script


def test_what_waits_is_compared_once_for_every_level_of_the_pool(play):
    stage = filled(play, 2)
    assert len(orders(stage, waiting=True)) <= 1
    before = len(orders(stage, waiting=True))
    stage.run()
    assert len(orders(stage, waiting=True)) == before
    for i in range(2, 6):
        stage.drop(f"v{i}.tif", b"volume %d" % i)
        stage.run()
    again = orders(stage, waiting=True)[before:]
    assert 4 <= len(again) <= 6  # a quarter more: at 3, 4, 5 and 6 volumes; and when another encoder came to select
    assert len({o.params["level"] for o in again}) == len(again)
    assert all(sum(len(r) for r in o.params["waiting"].values()) == 4 for o in again)
    assert len({q.id for q in stage.shot().queue}) == 4


def test_what_nobody_began_is_exchanged_and_what_somebody_began_stays(play):
    stage = filled(play, 2, takes_back(4))
    assert [q.id for q in stage.shot().queue] == ["s00001", "s00002", "s00003", "s00004"]
    ask(stage, "claim", id="s00001", user="ana")
    (stage.workspace.root / "drafts" / "s00002").mkdir(parents=True)
    for i in range(2, 8):
        stage.drop(f"v{i}.tif", b"volume %d" % i)
    stage.run()
    gone = [
        r["id"] for r in stage.store.annotation._db.query("SELECT id FROM suggestion WHERE skip_kind = ?", [TAKEN_BACK])
    ]
    assert gone == ["s00003", "s00004"]
    assert [q.id for q in stage.shot().queue][:2] == ["s00001", "s00002"]
    assert len(stage.shot().queue) == 4  # as many as were taken back came in their place
    assert not (stage.workspace.queue / "s00003").exists()
    assert any("s00003, s00004 taken out of the queue, nobody had begun" in e for e in events(stage))
    stage.label("s00003")  # somebody had made a copy: it counts all the same
    stage.run()
    assert stage.store.annotation.suggestion("s00003").state == "accepted"


def test_when_the_pool_changes_the_queue_is_put_in_order_anew_and_what_is_claimed_stays(play):
    last_first = []
    stage = filled(play, 2, turns_round(last_first))
    ask(stage, "claim", id="s00002", user="ana")
    last_first.append(True)
    for i in range(2, 4):
        stage.drop(f"v{i}.tif", b"volume %d" % i)
    stage.run()
    assert not last_first, "the queue was looked at"
    assert [q.id for q in stage.shot().queue] == ["s00004", "s00002", "s00003", "s00001"]
    assert json.loads(ask(stage, "claim", id=None, user="ben")[1]) == {"id": "s00004"}
    assert any("the queue was put in order anew: 2 suggestions moved" in e for e in events(stage))


def test_answers_out_of_turn_have_the_queue_looked_at_again(play):
    stage = filled(play)
    before = len(orders(stage, waiting=True))
    stage.label("s00004")
    stage.run()
    (again,) = orders(stage, waiting=True)[before:]
    assert again.params["labelled"] and len(again.params["queue"]) == 3


def turns_round(once: list[bool]) -> Any:
    """A script that wants the queue the other way round, once."""

    def script(order: Order) -> Any:
        said = results(order)
        if once and order.stage == "suggestions" and order.params["queue"]:
            once.clear()
            queue = [(key, row) for key, row in order.params["queue"]]
            said["order"] = [{"embedding": k, "row": r, "distance": 0.5, "nearest": None} for k, r in reversed(queue)]
        return said

    return script


def test_a_folder_that_somebody_looked_into_counts_as_begun(play):
    stage = filled(play)
    image = stage.workspace.queue / "s00001" / "image.tif"
    assert not touched(stage.workspace, "s00001")
    os.utime(image, (time.time() + 5, image.stat().st_mtime))  # as reading it does
    assert touched(stage.workspace, "s00001")
    assert not touched(stage.workspace, "s00009")
    (stage.workspace.inbox / "s00002.tif").write_bytes(b"a label, half saved")
    assert touched(stage.workspace, "s00002")


def test_an_emptied_pool_is_said_in_friendly_words(play):
    def empty(order: Order) -> Any:
        said = results(order)
        return said | {"eligible": 0} if order.stage == "suggestions" and not said["suggestions"] else said

    stage = filled(play, 1, empty)
    answer_all(stage)
    stage.run()
    shot = stage.shot()
    assert shot.queue == ()
    assert shot.work.nothing.startswith("everything worth asking about has been asked")
    answer = json.loads(ask(stage, "claim", id=None, user="ana")[1])
    assert answer == {"nothing": shot.work.nothing}
