"""People put models to use and take them out of use: on record, predictions follow, and no verdict brings one back by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon import commands
from daemon.store.models import Promotion, rollback_target
from tests.daemon.play import Stage, answer_all, events
from tests.daemon.scripted import evaluation, results

OPTIONS = {"training": {"every": 2}, "selection": {"queue_depth": 6, "control_share": 0.0}}


class Science:
    """The scripted stages; each fine-tuned model is better than the one before, by its F1."""

    def __init__(self) -> None:
        self.f1: dict[str, float] = {}
        self.next = 0.5

    def __call__(self, order):
        if order.stage != "evaluate":
            return results(order)
        if not order.inputs["model"]:
            return evaluation(order, 0.2)
        key = order.inputs["model"][0].key
        if key not in self.f1:
            self.f1[key] = self.next
        return evaluation(order, self.f1[key])


@pytest.fixture
def science() -> Science:
    return Science()


@pytest.fixture
def stage(tmp_path, science) -> Iterator[Stage]:
    made = Stage(tmp_path, science, **OPTIONS)
    for name in "abcdefgh":
        made.drop(f"{name}.tif", name.encode())
    made.run()
    yield made
    made.store.close()


def ask(stage: Stage, verb: str, **arguments: str) -> tuple[bool, str]:
    """(done?, words) of a wish, obeyed."""
    wish = commands.ask(stage.workspace, verb, {"user": "ana"} | arguments)
    stage.run()
    outcome = stage.store.state.command_outcome(wish)
    assert outcome is not None
    return outcome


def a_round(stage: Stage, science: Science, f1: float) -> None:
    science.next = f1
    assert answer_all(stage)
    stage.run()


def in_use(stage: Stage) -> str:
    promoted = stage.store.learning.promoted()
    return "" if promoted is None else promoted.version


def states(stage: Stage) -> dict[str, str]:
    return {version: state for version, (state, _, _) in stage.store.models.states().items()}


def shown(stage: Stage) -> set[bytes]:
    """The contents of predictions/*.tif: the scripted stage writes its key into them."""
    return {path.read_bytes() for path in stage.workspace.predictions.glob("*.tif")}


def test_a_rollback_brings_the_model_and_its_segmentations_back(stage, science):
    a_round(stage, science, 0.5)
    before = in_use(stage)
    old = shown(stage)
    assert before and len(old) == 8
    a_round(stage, science, 0.9)
    after = in_use(stage)
    assert after not in ("", before) and not shown(stage) & old
    n_orders = len(stage.executor.orders)
    done, words = ask(stage, "rollback", reason="it merges neighbours")
    assert done and words.startswith(f"{before} is in use again, {after} is not promoted")
    assert in_use(stage) == before and states(stage)[after] == "rejected"
    assert shown(stage) == old
    assert "predict" not in [o.stage for o in stage.executor.orders[n_orders:]], (
        "they were there: nothing is made again"
    )
    assert f"rolled back from {after} to {before} by ana: it merges neighbours" in events(stage)
    step = stage.store.models.promotions()[-1]
    assert (step.model, step.previous, step.how, step.who) == (before, after, "rollback", "ana")
    stage.restart()
    stage.run()
    assert in_use(stage) == before, "no start promotes it again"


def test_a_first_model_below_its_parent_leaves_the_place_to_it_and_volumes_are_segmented(stage, science):
    parent = stage.store.learning.pretrained()
    science.f1[parent.artifact] = 0.6
    a_round(stage, science, 0.5)
    assert in_use(stage) == parent.version
    assert states(stage) == {parent.version: "promoted", "M_f-001": "rejected"}
    assert len(shown(stage)) == 8
    assert any(f"so {parent.version} comes into use" in event for event in events(stage))
    assert not ask(stage, "rollback")[0]
    a_round(stage, science, 0.9)
    assert in_use(stage) == "M_f-002"
    assert ask(stage, "rollback")[0] and in_use(stage) == parent.version


def test_the_next_round_is_judged_against_the_model_in_use(stage, science):
    a_round(stage, science, 0.5)
    before = in_use(stage)
    a_round(stage, science, 0.9)
    assert ask(stage, "rollback")[0]
    n_orders = len(stage.executor.orders)
    a_round(stage, science, 0.7)
    judged = {
        o.inputs["model"][0].key
        for o in stage.executor.orders[n_orders:]
        if o.stage == "evaluate" and o.inputs["model"]
    }
    first = stage.store.learning.model(before)
    assert first is not None and first.artifact in judged
    assert in_use(stage) not in ("", before), "better than the one in use, though not than the one rolled back"


def test_what_cannot_be_rolled_back_is_said(stage, science):
    assert ask(stage, "rollback") == (False, "no model is in use, so there is none to roll back")
    a_round(stage, science, 0.5)
    only = in_use(stage)
    done, words = ask(stage, "rollback")
    assert not done and words.startswith(f"before {only} no model was in use") and in_use(stage) == only


def test_by_hand_with_a_reason(stage, science):
    a_round(stage, science, 0.5)
    first = in_use(stage)
    a_round(stage, science, 0.1)
    assert in_use(stage) == first
    (worse,) = [v for v, state in states(stage).items() if state == "rejected"]
    assert ask(stage, "promote", version=worse, reason=" ") == (
        False,
        "a promotion by hand needs a reason: --reason TEXT; it is kept with the model",
    )
    assert ask(stage, "promote", version=first, reason="x") == (False, f"{first} is in use already")
    assert ask(stage, "promote", version="M_f-999", reason="x")[1].startswith("there is no model 'M_f-999'")
    done, words = ask(stage, "promote", version=worse, reason="small ones")
    assert done and in_use(stage) == worse and states(stage)[first] == "retired"
    assert "warning: on the held-out patches the court found it" in words
    assert ask(stage, "rollback")[0] and in_use(stage) == first


def history(*steps: tuple[str, str]) -> list[Promotion]:
    return [Promotion(model, None, how, "", "", 0.0) for model, how in steps]


@pytest.mark.parametrize(
    ("steps", "target"),
    [
        ([], None),
        ([("a", "round")], None),
        ([("a", "round"), ("b", "round")], "a"),
        ([("a", "round"), ("b", "round"), ("c", "hand")], "b"),
        ([("a", "round"), ("b", "round"), ("c", "round"), ("b", "rollback")], "a"),
        ([("a", "round"), ("b", "round"), ("a", "rollback")], None),
        ([("a", "round"), ("b", "round"), ("a", "rollback"), ("c", "round")], "a"),
        ([("a", "round"), ("b", "round"), ("a", "hand")], "b"),
        # b was in use before a and is so again; once it was rolled back it does not come back from its former place
        ([("c", "round"), ("b", "round"), ("a", "round"), ("b", "hand"), ("a", "rollback")], "c"),
    ],
)
def test_rollbacks_pile_up_and_never_go_to_and_fro(steps, target):
    assert rollback_target(history(*steps)) == target
