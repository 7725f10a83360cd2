"""A round whose training fails for a passing reason is not the end of its labels: they are trained on, later or anew."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import commands
from daemon.executors.port import ORDER, Finished, Order
from daemon.policy import round_again_s
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.pool import Pool
from tests.daemon.scripted import results

KILLED = ("lost", "the worker died (signal 9; out of memory?)", "transient")


class Trouble:
    """A script in which every fine-tuning ends so, until `how` is None."""

    def __init__(self) -> None:
        self.how: tuple[str, str, str] | None = KILLED

    def __call__(self, order: Order) -> Finished | dict[str, Any] | None:
        if order.stage == "finetune" and self.how is not None:
            return Finished(order.job_id, order.fence, *self.how)
        return results(order)


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def stage(tmp_path: Path, trouble: Trouble) -> Iterator[Stage]:
    """Three volumes, four patches at a time in the queue; a round opens at two training labels."""
    made = Stage(tmp_path, trouble, training={"every": 2}, selection={"queue_depth": 4})
    for n in range(3):
        made.drop(f"v{n}.tif", b"volume %d" % n)
    made.run()
    with contextlib.closing(made.store):
        yield made


def failed(stage: Stage) -> int:
    """Answer what is asked, until round 1 has failed; returns its job."""
    answer_all(stage)
    stage.run()
    assert rounds(stage) == [(1, "failed")]
    return trainings(stage)[0]


def rounds(stage: Stage) -> list[tuple[int, str]]:
    return [(r.round, r.state) for r in stage.shot().rounds]


def trainings(stage: Stage) -> list[int]:
    """The jobs of all orders to fine-tune."""
    return [o.job_id for o in stage.executor.orders if o.stage == "finetune"]


def models(stage: Stage) -> list[str]:
    return [m.version for m in stage.shot().models if m.version.startswith("M_f")]


def ask(stage: Stage, verb: str, **arguments: Any) -> tuple[bool, str]:
    asked = commands.ask(stage.workspace, verb, arguments)
    stage.turn()
    outcome = stage.store.state.command_outcome(asked)
    assert outcome is not None
    return outcome


def test_three_kills_do_not_lose_the_labels(stage: Stage, trouble: Trouble) -> None:
    job = failed(stage)
    assert trainings(stage) == [job] * 3
    new = stage.store.training.n_new_labels()
    assert new == stage.shot().labels["accepted"] >= 2
    (told,) = stage.shot().rounds
    assert "signal 9" in told.verdict
    assert "tried again in 1 h 00 min" in told.verdict
    trouble.how = None
    stage.now += 3600
    stage.run()
    assert rounds(stage) == [(1, "done")]
    assert trainings(stage) == [job] * 4
    assert models(stage) == ["M_f-001"]
    assert stage.store.training.n_new_labels() == 0
    assert "round 1: its training is tried again" in events(stage)
    assert stage.stages().count("report") == 1, "only of a round with a model"


def test_each_failure_makes_the_wait_longer(stage: Stage) -> None:
    failed(stage)
    begun = []
    for _ in range(7 * 24 * 2):  # half an hour each: the three attempts of one try come within two hours
        before = len(trainings(stage))
        stage.now += 1800
        stage.turn()
        if len(trainings(stage)) > before and (not begun or stage.now - begun[-1] > 2 * 3600):
            begun.append(stage.now)
    waits = [(b - a) / 3600 for a, b in itertools.pairwise(begun)]
    expected = [round_again_s(n) / 3600 for n in range(2, 2 + len(waits))]
    assert len(expected) > 7 and expected == [2, 4, 8, 16] + [24] * (len(expected) - 4)
    assert all(wait <= after <= wait + 2.5 for wait, after in zip(expected, waits, strict=True)), waits
    assert [number for number, _ in rounds(stage)] == [1]
    assert models(stage) == []


def test_a_restart_goes_on_with_the_round_that_failed(stage: Stage, trouble: Trouble) -> None:
    job = failed(stage)
    trouble.how = None
    stage.restart()
    stage.turn()
    assert set(trainings(stage)) == {job}
    stage.run()
    assert rounds(stage) == [(1, "done")]
    assert models(stage) == ["M_f-001"]
    assert not [p for p in stage.shot().problems if p.kind == "job"]


@pytest.mark.parametrize("how", [KILLED, ("failed", "a layer has no weights", "defect")], ids=["killed", "a defect"])
def test_a_person_goes_on_with_the_round_that_failed(stage: Stage, trouble: Trouble, how: tuple[str, str, str]) -> None:
    trouble.how = how
    job = failed(stage)
    assert f"alscope jobs retry {job}" in stage.shot().rounds[0].verdict
    trouble.how = None
    stage.turn()
    assert rounds(stage) == [(1, "failed")]
    ok, words = ask(stage, "retry", id=job)
    assert ok, words
    stage.run()
    assert rounds(stage) == [(1, "done")]
    assert models(stage) == ["M_f-001"]


def test_what_cannot_pass_is_not_tried_again_by_itself(stage: Stage, trouble: Trouble) -> None:
    trouble.how = ("failed", "a layer has no weights", "defect")
    failed(stage)
    trouble.how = None
    for _ in range(5):
        stage.now += 86400
        stage.turn()
    assert len(trainings(stage)) == 1
    assert "tried again in" not in stage.shot().rounds[0].verdict
    answer_all(stage)  # other labels make another recipe
    stage.run()
    assert rounds(stage) == [(1, "failed"), (2, "done")]


def test_a_round_that_somebody_cancelled_stays_away_until_there_are_new_labels(stage: Stage, trouble: Trouble) -> None:
    script, stage.executor.script = trouble, lambda o: None if o.stage == "finetune" else results(o)
    answer_all(stage)
    stage.run()
    (job,) = [j for j in stage.store.jobs.running() if j.stage == "finetune"]
    assert ask(stage, "cancel", id=job.id)[0]
    stage.run()
    assert rounds(stage) == [(1, "failed")]
    script.how, stage.executor.script = None, script
    stage.now += 86400
    stage.run()
    assert rounds(stage) == [(1, "failed")]
    assert stage.store.training.n_new_labels() >= 2
    answer_all(stage)
    stage.run()
    assert rounds(stage) == [(1, "failed"), (2, "done")]


def test_one_new_label_opens_another_round_but_not_at_once(stage: Stage, trouble: Trouble) -> None:
    failed(stage)
    trouble.how = ("failed", "a layer has no weights", "defect")
    stage.now += 3600
    stage.run()  # its own training is tried again, and fails for good
    assert rounds(stage) == [(1, "failed")]
    trouble.how = None
    labelled = stage.shot().labels["train"]
    while stage.shot().labels["train"] == labelled:  # a held-out label is none to train on
        stage.label(next(q.id for q in stage.shot().queue if q.state == "open"))
        for _ in range(4):
            stage.turn()
    assert stage.store.training.n_labels_in_no_round() == 1
    assert rounds(stage) == [(1, "failed")]
    stage.now += 6 * 3600
    stage.run()
    assert rounds(stage) == [(1, "failed"), (2, "done")]


def test_after_a_failed_round_held_out_labels_count_as_at_any_other_time(tmp_path: Path) -> None:
    with contextlib.closing(Pool(tmp_path, training={"every": 4, "pretrain": False})) as pool:
        pool.executor.slots = {False: 0, True: 0}
        pool.ingested(0, 8)
        pool.pseudo_labelled()
        pool.encoder()
        pool.embedded()
        queue = pool.queued(8)
        pool.labelled(queue[:2])
        assert pool.planning.learning.open_round(pool.now) == ""
        pool.store.learning.fail_round(1, "a layer has no weights", pool.now)
        pool.labelled(queue[2:6])  # three to train on, one held out
        list(pool.planning.learning.round(pool.now))
        active = pool.store.learning.active_round()
        assert active is not None
        assert (active.number, len(active.train), len(active.gate)) == (2, 5, 1)


def test_the_training_of_an_older_round_is_not_tried_again(stage: Stage, trouble: Trouble) -> None:
    job = failed(stage)
    trouble.how = None
    assert ask(stage, "train")[0]
    stage.run()
    assert rounds(stage) == [(1, "failed"), (2, "done")]
    ok, words = ask(stage, "retry", id=job)
    assert not ok
    assert "round 1, and a later round has all its labels" in words
    assert not [p for p in stage.shot().problems if p.kind == "job"], "nobody can do anything about it"
    before = len(trainings(stage))
    stage.restart()
    stage.run()
    assert trainings(stage) == []
    assert before == 4


def test_retry_and_train_at_the_same_moment_make_one_round(stage: Stage, trouble: Trouble) -> None:
    job = failed(stage)
    trouble.how = None
    commands.ask(stage.workspace, "retry", {"id": job})
    ok, words = ask(stage, "train")
    assert (ok, "already under way" in words) == (False, True)
    stage.run()
    assert rounds(stage) == [(1, "done")]


@pytest.mark.parametrize("further", [True, False], ids=["after a checkpoint", "before any checkpoint"])
def test_a_kill_after_a_new_checkpoint_costs_no_attempt(stage: Stage, trouble: Trouble, further: bool) -> None:
    kills = 0

    def script(order: Order) -> Finished | dict[str, Any] | None:
        nonlocal kills
        if order.stage != "finetune" or kills == 10:
            return results(order)
        kills += 1
        folder = stage.workspace.places.job(order.job_id)
        checkpoint = folder / "scratch" / "checkpoints" / "latest.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        (folder / ORDER).write_text("{}")
        checkpoint.write_bytes(b"weights")
        at = (folder / ORDER).stat().st_mtime_ns + (1_000_000 if further else -1_000_000)
        os.utime(checkpoint, ns=(at, at))
        return Finished(order.job_id, order.fence, *KILLED)

    stage.executor.script = script
    answer_all(stage)
    stage.run()
    assert rounds(stage) == [(1, "done" if further else "failed")]
    assert kills == (10 if further else 3)
