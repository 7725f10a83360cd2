"""An engine at rest asks nothing that cannot have changed; whatever changes is looked at with the next tick, and time itself soon."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from daemon import commands
from daemon.engine import LOOK_AGAIN_S
from daemon.store.connection import DATABASE
from tests.daemon.play import Stage


@pytest.fixture
def stage(tmp_path: Path):
    """A loop that has come to rest, and counts how often it asks what ought to exist."""
    made = Stage(tmp_path)
    made.drop("a.tif", b"one")
    made.run()
    made.engine.pulse()  # the first one has news to tell
    made.asked, wanted = 0, made.engine.planning.first

    def counted(now: float):
        made.asked += 1
        return wanted(now)

    made.engine.planning.first = counted
    made.now += LOOK_AGAIN_S
    made.engine.tick()
    assert made.asked == 1
    yield made
    made.store.close()


def test_nothing_is_asked_again_while_nothing_changes_but_for_once_in_a_while(stage: Stage) -> None:
    for _ in range(int(LOOK_AGAIN_S) - 1):
        stage.now += 1
        stage.engine.tick()
        stage.engine.pulse()
    assert stage.asked == 1
    stage.now += 2
    stage.engine.tick()
    assert stage.asked == 2


def test_an_arrival_is_seen_with_the_next_tick_until_all_of_it_is_done(stage: Stage) -> None:
    done = len(stage.executor.orders)
    stage.drop("b.tif", b"two")
    for _ in range(12):
        stage.turn()
    assert {"volume", "pseudo", "traits", "embedding"} <= {o.stage for o in stage.executor.orders[done:]}


def test_a_label_is_seen_with_the_next_tick(stage: Stage) -> None:
    (asked, *_) = stage.shot().queue
    stage.label(asked.id)
    stage.turn()
    stage.turn()
    assert "label" in stage.stages()


def test_what_another_process_changes_is_seen(stage: Stage) -> None:
    with contextlib.closing(sqlite3.connect(stage.workspace.root / DATABASE)) as other, other:
        other.execute("UPDATE daemon SET note = 'somebody else'")
    stage.engine.tick()
    assert stage.asked == 2


def test_a_clock_that_is_set_back_does_not_put_it_to_sleep(stage: Stage) -> None:
    stage.now -= 86400
    stage.engine.tick()
    assert stage.asked == 2


def test_a_look_that_fails_is_taken_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.now += LOOK_AGAIN_S
    monkeypatch.setattr(stage.engine.files, "reconcile", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stage.engine.tick()
    monkeypatch.undo()
    stage.engine.tick()
    assert stage.asked == 2


def test_a_segmentation_that_is_half_copied_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(stage.engine.files), "copying", True)
    stage.now += LOOK_AGAIN_S
    stage.engine.tick()
    stage.engine.tick()
    assert stage.asked == 3


def test_a_problem_that_stays_keeps_nobody_awake(stage: Stage) -> None:
    def told(words: str) -> None:
        stage.store.state.problem("watcher", "events", words, stage.now)
        stage.engine.tick()

    told("no file events")
    told("no file events")
    asked = stage.asked
    for _ in range(10):
        stage.now += 1
        told("no file events")
    assert stage.asked == asked
    told("no file events in two folders")
    assert stage.asked == asked + 1
    assert any("two folders" in p.message for p in stage.shot().problems)


def test_a_patch_that_somebody_draws_keeps_nobody_awake_until_it_is_given_back(stage: Stage) -> None:
    commands.ask(stage.workspace, "claim", {"id": stage.shot().queue[0].id, "user": "ada"})
    for _ in range(3):
        stage.engine.tick()
    assert stage.shot().queue[0].user == "ada"
    begun = stage.asked
    for _ in range(20):
        stage.now += 1
        stage.engine.tick()
    assert stage.asked == begun
    before = begun
    while stage.shot().queue[0].user:
        before = stage.asked
        stage.now += LOOK_AGAIN_S - 1
        stage.engine.tick()
    assert stage.asked > before
