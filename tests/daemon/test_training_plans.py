"""What is pre-trained for which data, where a round starts, when it opens, and in which hours models are trained."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alcore.kinds import Kind, MadeFor
from alcore.types import Box
from daemon import commands
from daemon.executors.port import Finished
from daemon.planning import training as training_plans
from daemon.planning.training import groups
from daemon.status import status
from daemon.store.report import snapshot
from daemon.store.rows import LabelRow, RoundRow
from daemon.store.training import Amount
from tests.daemon.play import Stage, answer_all
from tests.daemon.pool import Pool, name, read_result
from tests.daemon.scripted import results

FINE, THICK = (0.05, 0.01, 0.01), (0.5, 0.01, 0.01)
LABEL = LabelRow(1, "label-1", "train", 0, Box((0, 0, 0), (1, 1, 1)))
PLAN = {"plan": {"binning": [1, 2, 2]}, "notes": []}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with contextlib.closing(Pool(tmp_path)) as made:
        made.executor.slots = {False: 0, True: 0}
        yield made


def ingested(pool: Pool, first: int, n: int, voxel_um: tuple[float, ...] | None = FINE, channels: int = 1) -> None:
    """Volumes of this kind with pseudo-labels."""
    pool.settled(first, n)
    for number in range(first, first + n):
        source = pool.store.sources.source(pool.store.sources.at(pool._path(number)))
        assert source is not None
        result = read_result(number)
        info = result["volumes"][0]["info"]
        info |= {"shape": [channels, *info["shape"][1:]], "voxel_um": voxel_um and list(voxel_um)}
        job = pool.done(pool.planning.planner.volume(source), {})
        pool.store.volumes.ingest(source.id, source.fingerprint, job.key, result, pool.now)
    pool.pseudo_labelled()


def pretrained(pool: Pool, data: dict[str, Any] | None) -> str:
    """The pre-training that is wanted was done."""
    (wanted,) = list(pool.planning.training.pretraining())
    job = pool.done(wanted, PLAN | ({"data": data} if data else {}))
    version = f"M_p-{pool.store.learning.n_models('pretrained') + 1:03d}"
    pool.store.learning.add_model(version, "pretrained", "baseline", job.key, None, [], "", pool.now)
    return version


def sources(wanted: Any) -> set[str]:
    return {item.path.name for item in wanted.inputs["source"]}


def test_a_plan_is_frozen_until_there_is_data_of_another_kind(pool: Pool) -> None:
    ingested(pool, 0, 2)
    pretrained(pool, {"channels": 1, "voxel_um": list(FINE)})
    assert list(pool.planning.training.pretraining()) == []
    ingested(pool, 2, 30, (0.06, 0.012, 0.012))  # another setting that the network takes
    assert list(pool.planning.training.pretraining()) == []
    ingested(pool, 32, 2, THICK)
    (wanted,) = pool.planning.training.pretraining()
    assert wanted.spec == "1 channel, 0.5 x 0.01 x 0.01 um"
    assert sources(wanted) == {name(32), name(33)}
    pretrained(pool, {"channels": 1, "voxel_um": list(THICK)})
    ingested(pool, 34, 1, FINE, channels=2)
    (wanted,) = pool.planning.training.pretraining()
    assert sources(wanted) == {name(34)}
    pretrained(pool, {"channels": 2, "voxel_um": list(FINE)})
    assert list(pool.planning.training.pretraining()) == []


def test_a_model_from_before_there_were_kinds_serves_all(pool: Pool) -> None:
    ingested(pool, 0, 2)
    pretrained(pool, None)
    ingested(pool, 2, 2, THICK)
    assert list(pool.planning.training.pretraining()) == []


def test_replanning_on_request_takes_what_there_is_now(pool: Pool) -> None:
    training = pool.planning.training
    with pytest.raises(LookupError, match="no volume has pseudo-labels"):
        training.replan(pool.now)
    ingested(pool, 0, 2)
    pretrained(pool, {"channels": 1, "voxel_um": list(FINE)})
    with pytest.raises(LookupError, match="it would be the same"):
        training.replan(pool.now)
    ingested(pool, 2, 5)
    assert "1 channel, 0.05 x 0.01 x 0.01 um" in training.replan(pool.now)
    (job,) = pool.store.jobs.ready(9, stages=["pretrain"])
    assert len(job.inputs["source"]) == 7
    assert not training.pretraining_settled()  # rounds wait for it
    with pytest.raises(LookupError, match="under way"):
        training.replan(pool.now)
    pool.finish(job.id, PLAN | {"data": {"channels": 1, "voxel_um": list(FINE)}})
    assert training.pretraining_settled()


@pytest.mark.parametrize(
    ("kind", "comes_back"), [("", False), ("source_missing", True)], ids=["somebody cancelled it", "a file went"]
)
def test_a_pretraining_that_somebody_cancelled_stays_away_until_there_is_twice_as_much(
    pool: Pool, kind: str, comes_back: bool
) -> None:
    training = pool.planning.training
    ingested(pool, 0, 2)
    (wanted,) = training.pretraining()
    made = pool.store.jobs.want(wanted, pool.now)
    assert made is not None
    pool.store.jobs.cancel(made, "cancelled", pool.now, kind)
    ingested(pool, 2, 1)
    assert bool(list(training.pretraining())) is comes_back
    assert training.pretraining_settled()  # rounds do not wait for it
    ingested(pool, 3, 1)
    assert len(list(training.pretraining())) == 1


def test_what_is_held_out_by_now_is_in_no_pretraining_and_not_rehearsed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_plans, "MIX_PATCHES", 99)
    with pool.store.transaction():
        pool.ingested(0, 8)
        pool.pseudo_labelled()
        pool.encoder()
        pool.embedded()
    (before,) = pool.planning.training.pretraining()
    suggestions = pool.queued(8)
    pool.labelled(suggestions)
    held_out = {(label.volume_id, label.box) for label in pool.store.labels.current() if label.role == "gate"}
    assert len(held_out) == 2 and held_out < patches_of(pool, before)
    last = pool.store.annotation.suggestion(suggestions[-1])
    assert last is not None
    pool.store.labels.withdraw(last, pool.now)  # its patch stays held out: a label drawn anew would judge again
    assert sum(label.role == "gate" for label in pool.store.labels.current()) == 1
    (wanted,) = pool.planning.training.pretraining()
    assert patches_of(pool, wanted) == patches_of(pool, before) - held_out  # those that train may be pre-trained on
    round_ = round_of(pool, 0)
    (finetune,) = pool.planning.training.finetuning(round_, pool.now)
    trains = {(label.volume_id, label.box) for label in round_.train}
    assert patches_of(pool, finetune) == patches_of(pool, before) - held_out - trains


def test_where_all_is_held_out_nothing_is_pretrained(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    training = pool.planning.training
    ingested(pool, 0, 1)
    everywhere = [(v.id, Box((0, 0, 0), (999, 999, 999))) for v in pool.volumes()]
    monkeypatch.setattr(pool.store.training, "held_out", lambda: everywhere)
    assert list(training.pretraining()) == []
    with pytest.raises(LookupError, match="not held out"):
        training.replan(pool.now)


def patches_of(pool: Pool, wanted: Any) -> set[tuple[int, Box]]:
    """(volume id, box) of the pseudo-labelled patches that a training takes."""
    ids = {v.artifact: v.id for v in pool.volumes()}
    volumes = [ids[item.key] for item in wanted.inputs["volume"]]
    return {(volumes[p["volume"]], Box(tuple(p["start"]), tuple(p["shape"]))) for p in wanted.params["patches"]}


def test_the_command_line_asks_for_a_plan(pool: Pool) -> None:
    asked = commands.ask(pool.workspace, "train", {"replan": True})
    commands.obey(pool.engine, pool.now)
    assert pool.store.state.command_outcome(asked) == (False, "no new plan: no volume has pseudo-labels yet")
    ingested(pool, 0, 2)
    asked = commands.ask(pool.workspace, "train", {"replan": True})
    commands.obey(pool.engine, pool.now)
    ok, words = pool.store.state.command_outcome(asked)
    assert ok
    assert "rounds that open from now on start from it" in words


def round_of(pool: Pool, *volumes: int) -> RoundRow:
    """A round with a training label in each of these volumes (by their number from 0)."""
    all_volumes = {v.name: v for v in pool.volumes()}
    labels = []
    for number in volumes:
        volume = all_volumes[name(number)]
        patch = pool.store.volumes.patch(volume.id, 0)
        labels.append(dataclasses.replace(LABEL, volume_id=volume.id, box=patch.box))
    return RoundRow(1, "training", None, "d", tuple(labels), ())


def start_of(pool: Pool, round_: RoundRow) -> str | None:
    """The version that its fine-tuning starts from."""
    (wanted,) = pool.planning.training.finetuning(round_, pool.now)
    if not wanted.inputs["model"]:
        return None
    found = pool.store.learning.model_of_artifact(wanted.inputs["model"][0].key)
    assert found is not None
    return found.version


@pytest.fixture
def two_kinds(pool: Pool) -> Pool:
    ingested(pool, 0, 2)
    assert pretrained(pool, {"channels": 1, "voxel_um": list(FINE)}) == "M_p-001"
    ingested(pool, 2, 2, THICK)
    assert pretrained(pool, {"channels": 1, "voxel_um": list(THICK)}) == "M_p-002"
    return pool


def test_a_round_starts_from_the_newest_model_of_the_right_kind(two_kinds: Pool) -> None:
    pool = two_kinds
    assert start_of(pool, round_of(pool, 0)) == "M_p-001"
    assert start_of(pool, round_of(pool, 2, 3)) == "M_p-002"
    assert start_of(pool, round_of(pool, 0, 1, 2)) == "M_p-001"
    ingested(pool, 4, 1)
    pool.planning.training.replan(pool.now)
    (job,) = pool.store.jobs.ready(9, stages=["pretrain"])
    pool.finish(job.id, PLAN | {"data": {"channels": 1, "voxel_um": list(FINE)}})
    pool.store.learning.add_model("M_p-003", "pretrained", "baseline", job.key, None, [], "", pool.now)
    assert start_of(pool, round_of(pool, 0)) == "M_p-003"
    assert start_of(pool, round_of(pool, 2)) == "M_p-002"


def test_only_pseudo_labels_of_the_same_kind_are_rehearsed(two_kinds: Pool) -> None:
    (wanted,) = two_kinds.planning.training.finetuning(round_of(two_kinds, 2), two_kinds.now)
    assert sources(wanted) == {name(2), name(3)}
    assert wanted.params["validation_share"] == 0.15


@pytest.mark.parametrize(
    ("gone", "kind", "goes_on"),
    [(True, "source_missing", True), (False, "source_missing", False), (True, "", False)],
    ids=["a file went", "the same files would be wanted", "somebody cancelled it"],
)
def test_a_round_goes_on_without_a_file_that_went_meanwhile(pool: Pool, gone: bool, kind: str, goes_on: bool) -> None:
    with pool.store.transaction():
        pool.ingested(0, 4)
        pool.pseudo_labelled()
        pool.encoder()
        pool.embedded()
        pool.pretrained()
        pool.labelled(pool.queued(3))
    assert pool.planning.learning.open_round(pool.now) == ""
    (first,) = pool.planning.learning.round(pool.now)
    made = pool.store.jobs.want(first, pool.now)
    assert made is not None
    assert list(pool.planning.learning.round(pool.now)) == []  # it is under way
    pool.store.sources.set_gone(pool._path(0), gone)
    pool.store.jobs.cancel(made, f"{name(0)}: is not there now", pool.now, kind)
    again = list(pool.planning.learning.round(pool.now))
    if goes_on:
        assert sources(first) - sources(again[0]) == {name(0)}
        assert pool.store.learning.active_round() is not None
    else:
        assert again == []
        assert pool.store.learning.active_round() is None


def test_a_round_may_start_from_the_promoted_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Pool(tmp_path, training={"finetune_from": "current"})) as pool:
        pool.executor.slots = {False: 0, True: 0}
        ingested(pool, 0, 2)
        pretrained(pool, {"channels": 1, "voxel_um": list(FINE)})
        round_ = round_of(pool, 0)
        assert start_of(pool, round_) == "M_p-001"  # nothing is promoted yet
        for n, parent in ((1, "M_p-001"), (2, "M_f-001")):
            pool.store.learning.add_model(
                f"M_f-00{n}", "finetuned", "candidate", pool.artifact(f"f{n}"), parent, [], "d", pool.now
            )
        second = pool.store.learning.model("M_f-002")
        monkeypatch.setattr(pool.store.learning, "promoted", lambda: second)
        assert start_of(pool, round_) == "M_f-002"
        ingested(pool, 2, 1)
        pool.planning.training.replan(pool.now)
        (job,) = pool.store.jobs.ready(9, stages=["pretrain"])
        pool.finish(job.id, PLAN | {"data": {"channels": 1, "voxel_um": list(FINE)}})
        pool.store.learning.add_model("M_p-002", "pretrained", "baseline", job.key, None, [], "", pool.now)
        assert start_of(pool, round_) == "M_p-002"  # a new plan was asked for: its line begins anew


def test_kinds_that_one_model_takes_are_one_group() -> None:
    amounts = [
        Amount(Kind(1, FINE), 2, 10),
        Amount(Kind(2, FINE), 1, 3),
        Amount(Kind(1, None), 1, 1),
        Amount(Kind(1, THICK), 4, 4),
        Amount(Kind(1, (0.06, 0.011, 0.011)), 1, 5),
    ]
    assert groups(amounts) == [(Kind(1, FINE), 4, 16), (Kind(2, FINE), 1, 3), (Kind(1, THICK), 4, 4)]


def test_binning_lets_a_model_take_finer_data() -> None:
    made_for = MadeFor(Kind(1, (0.04, 0.02, 0.02)), (1, 2, 2))
    assert made_for.binning_of((0.04, 0.01, 0.01)) == (1, 4, 4)
    assert made_for.binning_of((0.04, 0.04, 0.04)) == (1, 1, 1)
    assert made_for.binning_of((0.04, 0.16, 0.16)) is None
    assert not made_for.takes(Kind(2, (0.04, 0.02, 0.02)))


# when a round opens


@pytest.mark.parametrize(
    ("roles", "opens"),
    [
        (("train", "train", "train", "gate"), True),
        (("gate", "train", "gate", "gate"), True),
        (("train", "train", "train"), False),
        (("gate", "gate", "gate", "gate"), False),
    ],
)
def test_a_round_opens_when_so_many_labels_are_new_if_any_of_them_trains(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...], opens: bool
) -> None:
    with pool.store.transaction():
        pool.ingested(0, 8)
        pool.pseudo_labelled()
        pool.encoder()
        pool.embedded()
        pool.pretrained()
        pool.labelled(pool.queued(4)[:1])
        pool.round()
    left = iter(roles)
    accept = pool.store.labels.accept
    monkeypatch.setattr(
        pool.store.labels, "accept", lambda asked, key, role, *more: accept(asked, key, next(left), *more)
    )
    pool.labelled(pool.queued(len(roles)))
    list(pool.planning.learning.round(pool.now))
    assert (pool.store.learning.active_round() is not None) is opens
    shot = snapshot(pool.workspace.root, pool.now)
    told = [line.plain for line in status(shot, pool.workspace.root, 80, everything=True)]
    assert shot.labels["new"] == (0 if opens else len(roles))
    assert any(f"{len(roles)} new labels for the next round" in line for line in told) is not opens


# hours


def hours_from(now: float, begin_h: float, end_h: float) -> str:
    """A window that begins and ends so many hours after now, by this machine's clock."""
    begin, end = (datetime.fromtimestamp(now) + timedelta(hours=h) for h in (begin_h, end_h))
    return f"{begin:%H:%M}-{end:%H:%M}"


def test_training_keeps_its_hours_and_stops_at_their_end(tmp_path: Path) -> None:
    now = datetime.now().timestamp()
    stage = Stage(
        tmp_path,
        lambda order: None if order.stage == "pretrain" else results(order),
        training={"window": hours_from(now, 2, 4)},
        encoder={"size": "descriptor"},
    )
    stage.drop("a.tif", b"one")
    for _ in range(30):
        stage.turn()
    assert "pretrain" not in stage.stages()
    assert {"volume", "pseudo", "embedding"} <= set(stage.stages())  # nothing else waits
    assert "training waits for its hours" in stage.engine.dispatch.waits_for(stage.now)
    stage.now = now + 3 * 3600
    stage.turn()
    (job,) = stage.store.jobs.running()
    assert job.stage == "pretrain"
    assert stage.engine.dispatch.waits_for(stage.now) == ""
    stage.now = now + 4.5 * 3600
    for _ in range(3):
        stage.turn()
    assert stage.executor.stopped == [job.id]  # asked once
    stage.engine.handle(Finished(job.id, job.fence, "preempted"))
    assert "training.window" in stage.store.jobs.last_words(job.id)
    stage.turn()
    assert not stage.store.jobs.running()
    stage.now = now + 27 * 3600
    stage.turn()
    stage.turn()
    assert [j.id for j in stage.store.jobs.running()] == [job.id]
    assert stage.store.jobs.get(job.id).attempts == 1
    stage.store.close()


def test_a_round_opens_at_a_time_of_day_with_what_is_new_by_then(tmp_path: Path) -> None:
    now = datetime.now().timestamp()
    soon = datetime.fromtimestamp(now) + timedelta(hours=2)
    stage = Stage(tmp_path, training={"every": 100, "pretrain": False, "schedule": [f"{soon:%H:%M}"]})
    stage.drop("a.tif", b"one")
    for _ in range(40):
        stage.turn()
    answer_all(stage)
    for _ in range(20):
        stage.turn()
    assert stage.shot().labels["train"] > 0
    assert stage.store.learning.active_round() is None and not stage.shot().rounds
    stage.now = now + 2.5 * 3600
    for _ in range(20):
        stage.turn()
    assert len(stage.shot().rounds) == 1
    stage.now = now + 30 * 3600  # the same time on the next day: nothing is new
    for _ in range(20):
        stage.turn()
    assert len(stage.shot().rounds) == 1
    stage.store.close()
