"""A judging or a pre-training that ends for a passing reason is tried again by itself, later each time; nothing is lost meanwhile."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import commands
from daemon.engine import LOOK_AGAIN_S
from daemon.executors.port import Finished, Order
from daemon.policy import round_again_s
from daemon.results_selection import Failure
from daemon.store.rows import JobRow
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.pool import Pool
from tests.daemon.scripted import results
from tests.daemon.test_training_plans import FINE, PLAN, ingested

NO_ROOM = ("failed", "the GPU has no room", "transient")
DEFECT = ("failed", "a layer has no weights", "defect")


class Court:
    """A script in which every evaluation of a fine-tuned model ends so, until `how` is None."""

    def __init__(self) -> None:
        self.how: tuple[str, str, str] | None = NO_ROOM
        self.judged = 0

    def __call__(self, order: Order) -> Finished | dict[str, Any] | None:
        if order.stage == "evaluate" and order.inputs["model"] and self.how is not None:
            self.judged += 1
            return Finished(order.job_id, order.fence, *self.how)
        return results(order)


@pytest.fixture
def court() -> Court:
    return Court()


@pytest.fixture
def stage(tmp_path: Path, court: Court) -> Iterator[Stage]:
    """A round whose model was trained and could not be judged; four patches at a time in the queue."""
    training = {"every": 2, "pretrain": False, "gate_min_patches": 1}
    made = Stage(tmp_path, court, training=training, selection={"queue_depth": 4})
    for n in range(3):
        made.drop(f"v{n}.tif", b"volume %d" % n)
    made.run()
    answer_all(made)
    made.run()
    with contextlib.closing(made.store):
        yield made


def rounds(stage: Stage) -> list[tuple[int, str]]:
    return [(r.round, r.state) for r in stage.shot().rounds]


def state(stage: Stage, version: str) -> str:
    return stage.store.models.states()[version][0]


def evaluation(stage: Stage) -> JobRow:
    ((job, _),) = stage.store.jobs.states("evaluate", "evaluate:M_f-001")
    found = stage.store.jobs.get(job)
    assert found is not None
    return found


def test_a_full_gpu_does_not_lose_the_trained_model(stage: Stage, court: Court) -> None:
    assert rounds(stage) == [(1, "judging")]
    assert court.judged == 3
    assert any("M_f-001 is not judged yet: the GPU has no room; tried again in 1 h 00 min" in e for e in events(stage))
    court.how = None
    stage.now += 3600
    stage.run()
    assert rounds(stage) == [(1, "done")]
    assert state(stage, "M_f-001") == "promoted"
    assert stage.stages().count("finetune") == 1


def test_each_failure_to_judge_makes_the_wait_longer(stage: Stage, court: Court) -> None:
    begun = []
    for _ in range(48):
        before = court.judged
        stage.now += 1800
        stage.turn()
        if court.judged > before and (not begun or stage.now - begun[-1] > 2 * 3600):
            begun.append(stage.now)
    waits = [(b - a) / 3600 for a, b in itertools.pairwise(begun)]
    assert len(waits) == 3
    assert all(w <= took <= w + 2.5 for w, took in zip((2, 4, 8), waits, strict=True)), waits


def test_what_cannot_pass_ends_the_round(stage: Stage, court: Court) -> None:
    court.how = DEFECT
    stage.now += 3600
    stage.run()
    assert rounds(stage) == [(1, "done")]
    assert state(stage, "M_f-001") == "rejected"
    assert "could not be judged (a layer has no weights)" in stage.shot().rounds[0].verdict


@pytest.mark.parametrize("how", ["labels", "by hand"])
def test_the_next_round_does_not_wait_for_it(stage: Stage, court: Court, how: str) -> None:
    court.how = None
    if how == "labels":
        answer_all(stage)
    else:
        asked = commands.ask(stage.workspace, "train", {})
        stage.turn()
        assert stage.store.state.command_outcome(asked) == (True, "a round is opened on all accepted labels")
    for _ in range(12):
        stage.turn()  # within seconds: the wait of an hour is not over
    assert rounds(stage) == [(1, "done"), (2, "done")]
    assert state(stage, "M_f-001") == "rejected"
    assert state(stage, "M_f-002") == "promoted"


def test_a_restart_judges_at_once(stage: Stage, court: Court) -> None:
    court.how = None
    stage.restart()
    for _ in range(6):
        stage.turn()
    assert rounds(stage) == [(1, "done")]
    assert state(stage, "M_f-001") == "promoted"


def asked(stage: Stage | Pool, verb: str, **arguments: Any) -> tuple[bool, str]:
    command = commands.ask(stage.workspace, verb, arguments)
    commands.obey(stage.engine, stage.now)
    found = stage.store.state.command_outcome(command)
    assert found is not None
    return found


def test_scores_for_a_round_that_is_over_are_wanted_by_nobody(stage: Stage) -> None:
    job = evaluation(stage).id
    assert asked(stage, "cancel", id=job) == (False, f"job {job} is failed already: there is nothing to cancel")
    wish = {"version": "M_f-001", "reason": "it looks good", "user": "ana"}
    assert asked(stage, "promote", **wish) == (
        False,
        f"M_f-001 is not judged yet (the GPU has no room); `alscope jobs retry {job}` judges it now, `alscope train` concludes its "
        "round without a verdict on it and opens the next; promote it after that",
    )
    assert asked(stage, "train")[0]
    stage.engine.tick()
    assert evaluation(stage).state == "cancelled"
    assert not [p for p in stage.shot().problems if p.kind == "job"]
    assert asked(stage, "retry", id=job) == (
        False,
        f"job {job} was to judge a model for a round that is over; `alscope train` opens another",
    )
    assert asked(stage, "promote", **wish)[0]
    assert state(stage, "M_f-001") == "promoted"
    # an older version left them as they had ended, and a restart brings back what ended for a passing reason
    left = "UPDATE job SET state = 'failed', error_kind = 'transient' WHERE id = ?"
    stage.store.learning._db.execute(left, [job])
    ran = [o.job_id for o in stage.executor.orders].count(job)
    stage.restart()
    stage.turn()
    assert (evaluation(stage).state, ran) == ("cancelled", 3)
    assert job not in [o.job_id for o in stage.executor.orders]


def test_what_fails_after_its_round_was_concluded_promises_nothing(stage: Stage) -> None:
    job = evaluation(stage)
    said = [e for e in events(stage) if "is not judged yet" in e]
    assert len(said) == 1
    stage.store.learning.fail_round(1, "cancelled", stage.now)
    stage.engine.results.failed(job, Failure("the GPU has no room", "transient"), stage.now)
    assert [e for e in events(stage) if "is not judged yet" in e] == said
    assert f"evaluate of {job.subject} failed: the GPU has no room" in events(stage)


# pre-training


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with contextlib.closing(Pool(tmp_path)) as made:
        made.executor.slots = {False: 0, True: 0}
        ingested(made, 0, 8)
        (wanted,) = made.planning.training.pretraining()
        made.store.jobs.want(wanted, made.now)
        yield made


def pretraining(pool: Pool) -> JobRow:
    """The newest pre-training."""
    jobs = pool.store.jobs
    found = jobs.get(max(jobs.states("pretrain", s)[-1][0] for s, _ in jobs.of_stage("pretrain")))
    assert found is not None
    return found


def gives_up(pool: Pool, kind: str = "transient") -> int:
    job = pool.store.jobs.claim(pretraining(pool).id, "w", pool.now)
    pool.store.jobs.failed(job.id, "the GPU has no room", kind, pool.now)
    return job.id


def test_a_pretraining_goes_on_by_itself_later_each_time(pool: Pool) -> None:
    for failures in range(1, 5):
        job = gives_up(pool)
        pool.now += round_again_s(failures) - 1
        pool.engine.tick()
        assert pretraining(pool).state == "failed"
        pool.now += LOOK_AGAIN_S
        pool.engine.tick()
        assert (pretraining(pool).id, pretraining(pool).state) == (job, "ready")
    assert [e for e in events_of(pool) if "is tried again" in e] == [
        "the pre-training for 1 channel, 0.05 x 0.01 x 0.01 um is tried again"
    ] * 4


def test_one_that_cannot_pass_does_not(pool: Pool) -> None:
    gives_up(pool, "permanent")
    pool.now += 10 * 86400
    pool.engine.tick()
    assert pretraining(pool).state == "failed"


def test_it_takes_nothing_that_was_held_out_meanwhile(pool: Pool) -> None:
    old = gives_up(pool)
    pool.encoder()
    pool.embedded()
    pool.labelled(pool.queued(8))
    held_out = {(v, box.start) for v, box in pool.store.training.held_out()}
    assert len(held_out) == 2
    pool.now += 3600
    pool.engine.tick()
    job = pretraining(pool)
    assert job.state == "ready" and job.id != old
    before = pool.store.jobs.get(old)
    assert before is not None
    assert held_out <= taken(pool, before)
    assert taken(pool, job) == taken(pool, before) - held_out
    pool.finish(job.id, PLAN | {"data": {"channels": 1, "voxel_um": list(FINE)}})
    pool.store.jobs.recover(pool.now)  # at a restart: a model is there, nobody wants the old one
    found = pool.store.jobs.get(old)
    assert found is not None and found.state == "failed"
    assert asked(pool, "retry", id=old) == (
        False,
        f"job {old} is a pre-training for data that a later one made a model for; `alscope train --replan` makes a new one",
    )


def held_out(pool: Pool) -> set[tuple[int, tuple[int, int, int]]]:
    """Labels come in; (volume id, corner) of those that are held out."""
    pool.encoder()
    pool.embedded()
    pool.labelled(pool.queued(8))
    return {(v, box.start) for v, box in pool.store.training.held_out()}


def test_nor_does_it_at_a_restart(pool: Pool) -> None:
    old = gives_up(pool)
    out = held_out(pool)
    pool.engine.start()
    pool.engine.tick()
    job = pretraining(pool)
    assert job.state == "ready" and job.id != old
    assert [e for e in pool.store.jobs.story(old) if "held out by now" in e]
    assert not taken(pool, job) & out


def test_nor_when_a_person_asks(pool: Pool) -> None:
    old = pretraining(pool).id
    assert asked(pool, "cancel", id=old)[0]
    assert asked(pool, "retry", id=old) == (True, f"job {old} (pretrain of pretrain:8) is tried again")
    assert asked(pool, "cancel", id=old)[0]
    out = held_out(pool)
    ok, words = asked(pool, "retry", id=old)
    assert ok and words.startswith(f"job {old} takes patches that are held out by now or cannot be read; a new plan")
    job = pretraining(pool)
    assert job.id != old and job.state == "ready"
    assert not taken(pool, job) & out
    assert asked(pool, "retry", id=old) == (
        False,
        f"job {old} takes patches that are held out by now or cannot be read, and a pre-training is under way already",
    )


def taken(pool: Pool, job: JobRow) -> set[tuple[int, tuple[int, int, int]]]:
    """(volume id, corner) of the patches of a pre-training."""
    ids = {v.artifact: v.id for v in pool.volumes()}
    volumes = [ids[item.key] for item in job.inputs["volume"]]
    return {(volumes[p["volume"]], tuple(p["start"])) for p in job.params["patches"]}


def events_of(pool: Pool) -> list[str]:
    return [r["message"] for r in pool.store.state._db.query("SELECT message FROM event ORDER BY id")]
