"""A label whose check was under way when alscope was upgraded, or config.toml changed, is answered once and by the check of now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.results_selection import Failure
from tests.daemon.play import Stage, events
from tests.daemon.scripted import results


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Stage]:
    """A label of s00001 is being checked, and the check does not end."""
    made = Stage(tmp_path, lambda order: None if order.stage == "label" else results(order), training={"every": 99})
    made.drop("a.tif", b"one")
    made.run()
    made.label("s00001")
    made.run()
    yield made
    made.store.close()


def checks(play: Stage) -> list[tuple[str, str]]:
    sql = "SELECT state, error_kind FROM job WHERE stage = 'label' ORDER BY id"
    return [(r["state"], r["error_kind"]) for r in play.store.state._db.query(sql)]


def ask_otherwise(play: Stage) -> None:
    """Another daemon starts, with another value for what was not looked at."""
    annotation = play.settings.annotation.model_copy(update={"not_looked_at": 9})
    play.settings = play.settings.model_copy(update={"annotation": annotation})
    play.script = results
    play.restart()
    play.run()


def test_a_check_of_other_settings_gives_way_to_the_one_of_now(play: Stage) -> None:
    assert checks(play) == [("running", "")]
    ask_otherwise(play)
    assert checks(play) == [("cancelled", "withdrawn"), ("done", "")]
    (order,) = [o for o in play.executor.orders if o.stage == "label"]
    assert order.params["not_looked_at"] == 9
    assert play.shot().labels["accepted"] == 1


@pytest.mark.parametrize("well", [True, False])
def test_a_second_answer_changes_nothing(play: Stage, well: bool) -> None:
    (job,) = [j for j in play.store.jobs.running() if j.stage == "label"]
    ask_otherwise(play)
    told = events(play)
    if well:
        play.engine.results.done(job, {"n_objects": 7}, play.now)
    else:
        play.engine.results.failed(job, Failure("too late", "permanent"), play.now)
    assert (play.shot().labels["accepted"], play.shot().labels["rejected"]) == (1, 0)
    assert events(play) == told


def test_jobs_of_other_code_are_withdrawn_and_those_of_this_one_go_on(play: Stage) -> None:
    play.restart()
    assert checks(play) == [("waiting", "")]
    play.store.state._db.execute("UPDATE job SET key = 'label-of-other-code' WHERE stage = 'label'")
    play.script = results
    play.restart()
    assert checks(play) == [("cancelled", "withdrawn")]
    assert "1 job of another version of alscope withdrawn: what is still wanted is planned anew" in events(play)
    play.run()
    assert checks(play) == [("cancelled", "withdrawn"), ("done", "")]
    assert play.shot().labels["accepted"] == 1
