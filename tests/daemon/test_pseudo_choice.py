"""`pseudo.backend = "auto"`: scores from the newest round decide who labels new volumes, and old ones keep what they have."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from daemon import pseudo_choice
from daemon.cli.main import main
from daemon.executors.port import Finished
from daemon.look import look
from daemon.status import status
from daemon.store.backend_scores import backend_scores
from daemon.store.connection import DATABASE, open_reader
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import evaluation, results

AUTO = {
    "training": {"every": 4, "gate_share": 0.5},
    "selection": {"queue_depth": 8, "control_share": 0.0},
    "pseudo": {"backend": "auto"},
}


class Science:
    """The scripted stages, with an F1 for the pseudo-labels and for every model; `broken` cannot be labelled by a model."""

    def __init__(self) -> None:
        self.pseudo, self.model, self.broken = 0.4, 0.6, ""

    def __call__(self, order):
        if order.stage == "evaluate":
            return evaluation(order, self.model if order.inputs["model"] else self.pseudo)
        labelled = order.stage == "pseudo" and order.inputs.get("model")
        if labelled and self.broken and self.broken in order.inputs["source"][0].path.name:
            return Finished(order.job_id, order.fence, "failed", "2 channels, not 1", "permanent")
        return results(order)


@pytest.fixture
def science() -> Science:
    return Science()


@pytest.fixture
def alscope_at(tmp_path, capsys) -> Callable[..., SimpleNamespace]:
    """Run a command on a stage: out, and (for --json) data."""

    def run(stage: Stage, *arguments: str) -> SimpleNamespace:
        config = tmp_path / "config.toml"
        config.write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n')
        capsys.readouterr()
        assert main(["--config", str(config), *arguments]) == 0
        out = capsys.readouterr().out
        return SimpleNamespace(out=out, data=json.loads(out) if "--json" in arguments else None)

    return run


@pytest.fixture
def stage(tmp_path, science, monkeypatch) -> Iterator[Stage]:
    monkeypatch.setattr(pseudo_choice.packages, "missing", lambda name: [name])
    made = Stage(tmp_path, science, **AUTO)
    yield made
    made.store.close()


def drop(stage: Stage, *names: str) -> None:
    for name in names:
        stage.drop(f"{name}.tif", name.encode())
    stage.run()


def labelled_by(stage: Stage) -> list[tuple[str, str, str]]:
    """(file, backend, artifact of the model) of every order to pseudo-label since the last start, by file."""
    orders = [o for o in stage.executor.orders if o.stage == "pseudo"]
    return sorted(
        (o.inputs["source"][0].path.stem, o.params["backend"], "".join(i.key for i in o.inputs.get("model", [])))
        for o in orders
    )


def a_round(stage: Stage) -> None:
    """The expert answers everything that waits."""
    assert answer_all(stage) == 8
    stage.run()


def test_a_better_model_labels_what_is_new_and_old_volumes_keep_their_labels(stage):
    drop(stage, "a", "b", "c")
    assert labelled_by(stage) == [(n, "threshold", "") for n in "abc"]
    a_round(stage)
    promoted = stage.store.learning.promoted()
    assert promoted is not None and labelled_by(stage) == [(n, "threshold", "") for n in "abc"]
    drop(stage, "d")
    assert labelled_by(stage)[3:] == [("d", "nnunet", promoted.artifact)]
    lanes = {o.params["backend"]: o.long for o in stage.executor.orders if o.stage == "pseudo"}
    assert lanes == {"threshold": False, "nnunet": True}, "nobody who checks a label waits behind a model"
    told = "F1 0.60 against 0.40 of threshold on 3 held-out labels"
    shot = stage.shot()
    assert (shot.pseudo.chosen, shot.pseudo.why) == (promoted.version, told)
    assert f"new volumes are pseudo-labelled by {promoted.version}: {told}" in events(stage)
    stage.restart()
    stage.run()
    assert labelled_by(stage) == [], "a start with another choice labels nothing anew"
    drop(stage, "e")
    assert labelled_by(stage) == [("e", "nnunet", promoted.artifact)]
    # everything downstream takes pseudo-labels of any backend
    shot = stage.shot()
    assert shot.volumes["pseudo_labelled"] == shot.volumes["ingested"] == 5
    spec = stage.engine.planning.planner.pseudo_spec()
    assert stage.store.volumes.n_readable_with("pseudo", spec) == (5, 20)
    assert len(stage.engine.planning.training.pseudo_labelled()) == 5
    traits = stage.engine.planning.planner.traits_spec(True)
    assert len(stage.store.jobs.done_by_volume("traits", traits)) == 5


def test_status_says_it_in_one_line_of_eighty_columns(stage):
    drop(stage, "a", "b", "c")
    a_round(stage)
    lines = [t.plain for t in status(look(stage.workspace.root, stage.now), stage.workspace.root, 80, True)]
    (line,) = [t for t in lines if t.startswith("pseudo ")]
    assert line == "pseudo    M_f-001: F1 0.60 against 0.40 of threshold on 3 held-out labels" and len(line) <= 80


def test_a_backend_that_is_named_needs_no_line(tmp_path, science):
    stage = Stage(tmp_path, science, **AUTO | {"pseudo": {"backend": "threshold"}})
    drop(stage, "a", "b", "c")
    a_round(stage)
    drop(stage, "d")
    assert [b for _, b, _ in labelled_by(stage)] == ["threshold"] * 4
    shot = look(stage.workspace.root, stage.now)
    assert shot.pseudo is None
    assert not [t for t in status(shot, stage.workspace.root, 80) if t.plain.startswith("pseudo")]
    stage.store.close()


def test_a_model_that_is_hardly_better_does_not_label(stage, science):
    science.model = science.pseudo + 0.01
    drop(stage, "a", "b", "c")
    a_round(stage)
    drop(stage, "d")
    assert stage.store.learning.promoted() is not None
    assert [b for _, b, _ in labelled_by(stage)] == ["threshold"] * 4
    assert "M_f-001 is not better by 0.02: F1 0.41 against 0.40" in stage.shot().pseudo.why


def test_a_volume_that_the_model_cannot_label_gets_what_there_was_before(stage, science):
    science.broken = "odd"
    drop(stage, "a", "b", "c")
    a_round(stage)
    drop(stage, "odd", "d")
    assert [(name, backend) for name, backend, _ in labelled_by(stage)[3:]] == [
        ("d", "nnunet"),
        ("odd", "nnunet"),
        ("odd", "threshold"),
    ]
    spec = stage.engine.planning.planner.pseudo_spec()
    assert len(stage.store.jobs.done_by_volume("pseudo", spec)) == 5
    stage.restart()
    stage.run()
    assert labelled_by(stage) == []


def test_from_a_named_backend_to_auto_what_would_be_made_the_same_way_is_not_made_again(tmp_path, science, monkeypatch):
    monkeypatch.setattr(pseudo_choice.packages, "missing", lambda name: [name])
    first = Stage(tmp_path, science, **AUTO | {"pseudo": {"backend": "threshold"}})
    drop(first, "a", "b", "c")
    first.store.close()
    then = Stage(tmp_path, science, **AUTO)
    drop(then, "d")
    assert labelled_by(then) == [("d", "threshold", "")]
    spec = then.engine.planning.planner.pseudo_spec()
    assert len(then.store.jobs.done_by_volume("pseudo", spec)) == 4
    then.store.close()


def test_scores_are_counted_by_the_backend_that_made_them(stage, science, alscope_at):
    drop(stage, "a", "b", "c")
    a_round(stage)
    drop(stage, "d", "e", "f")
    science.pseudo, science.model = 0.5, 0.7
    a_round(stage)
    with contextlib.closing(open_reader(stage.workspace.root / DATABASE)) as db:
        found = {b.backend: b for b in backend_scores(db)}
    gate = [x for x in stage.store.labels.current() if x.role == "gate"]
    by_volume = {v.id: v.name for v in stage.store.volumes.readable()}
    n_old = sum(by_volume[x.volume_id][0] in "abc" for x in gate)
    assert 0 < n_old < len(gate), "the play has held-out labels of both kinds"
    assert {name: b.n for name, b in found.items()} == {"threshold": n_old, "nnunet": len(gate) - n_old}
    for b in found.values():
        assert b.scores["f1"] == b.scores["precision"] == b.scores["recall"] == 0.5
        assert b.model == stage.store.learning.promoted().version and b.model_scores["f1"] == 0.7
    shown = alscope_at(stage, "pseudo", "scores").out
    assert "threshold" in shown and "nnunet" in shown and f"{b.model} on the same" in shown and "0.700" in shown
    assert {row["backend"] for row in alscope_at(stage, "pseudo", "scores", "--json").data} == set(found)


def test_before_the_first_round_there_are_no_scores(stage, alscope_at):
    drop(stage, "a")
    assert alscope_at(stage, "pseudo", "scores", "--json").data == []
    assert "no scores yet" in alscope_at(stage, "pseudo", "scores").out


def test_pseudo_labels_that_cannot_be_scored_hold_no_model_up(stage, science):
    def script(order):
        if order.stage == "evaluate" and not order.inputs["model"]:
            return Finished(order.job_id, order.fence, "failed", "none has a pseudo-label", "permanent")
        return science(order)

    stage.executor.script = script
    drop(stage, "a", "b", "c")
    a_round(stage)
    (done,) = stage.shot().rounds
    assert (done.state, done.promoted, done.baseline) == ("done", True, None)
    drop(stage, "d")
    assert [b for _, b, _ in labelled_by(stage)] == ["threshold"] * 4
