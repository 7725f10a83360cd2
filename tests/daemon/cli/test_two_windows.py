"""Two commands at one patch: of two people, one of whom takes it over, and of one person in two terminals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.annotate.draft_files import drafted_by, own_folder
from alcore.annotate.drafts import Draft, read_draft, save_draft, write_labels
from alcore.annotate.order import LABEL, Order, Outcome
from daemon.cli import claiming, sitting
from daemon.cli.session import Session
from daemon.cli.sitting import NoWindowError, Sitting
from tests.daemon.scene import Scene

SHAPE = (1, 2, 3)
WORK = {"active_s": 90.0, "clicks": 4, "changed_voxels": 6, "open_s": 120.0}


def draws(order: Order, value: int, answer: str) -> Outcome:
    """As a window does: the draft first, then a label if it is handed in."""
    labels = np.full(SHAPE, value, np.uint32)
    save_draft(Path(order.work), Draft(labels, None, order.user, 1.0))
    if answer == "submit":
        write_labels(Path(order.work) / LABEL, labels)
    return Outcome(answer, draft=True, work=WORK, tool="a test")


class Stand:
    """Stands for the window process; `act` is what the person does."""

    def __init__(self, act: Callable[[Order], Outcome]) -> None:
        self.act = act

    def prepare(self, sam: bool) -> None:
        """No libraries are needed."""

    def run(self, order: Order, goes_on: bool, meanwhile: Any) -> Outcome:
        return self.act(order)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def session(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Two patches wait, and windows could be opened."""
    monkeypatch.setattr(sitting, "missing_window", lambda: [])
    monkeypatch.setattr(sitting, "VERDICT_S", 10.0)
    monkeypatch.setenv("DISPLAY", ":0")
    scene.volume("a.tif")
    for name in scene.suggest(2):
        (scene.workspace.queue / name / "image.tif").write_bytes(b"an image that nobody opens")
    made = Session()
    made.option = scene.config
    return made


def sit(session: Session, user: str, act: Callable[[Order], Outcome], take_over: bool = False, wanted: str = "s00001"):
    made, window = Sitting(session, user, True), Stand(act)
    made._window = window  # type: ignore[assignment]
    return made.run(wanted, take_over)


def test_who_takes_a_patch_over_and_hands_in_leaves_the_others_draft(scene, session, attended):
    """Her window stays open meanwhile: his label is accepted before she closes."""

    def hers(order: Order) -> Outcome:
        draws(order, 7, "closed")
        assert sit(session, "ben", his, take_over=True) == 0
        return draws(order, 9, "closed")

    def his(order: Order) -> Outcome:
        assert order.drafts == (str(scene.workspace.drafts / "s00001" / "ana"),), "he may go on from hers"
        return draws(order, 8, "submit")

    with attended():
        assert sit(session, "ana", hers) == 0
    patch = scene.workspace.drafts / "s00001"
    kept = read_draft(patch / "ana", SHAPE)
    assert kept is not None and (kept.labels == 9).all() and kept.user == "ana"
    assert drafted_by(own_folder(patch, "ben")) is None, "his was accepted"
    assert scene.store.annotation.suggestion("s00001").state == "accepted"


@pytest.mark.parametrize("take_over", [False, True])
def test_a_second_window_of_one_person_is_refused_and_takes_nothing_from_the_first(scene, session, attended, take_over):
    def first(order: Order) -> Outcome:
        draws(order, 7, "closed")
        with pytest.raises(NoWindowError, match=r"^s00001: ana has it open in another window; [^\n]*$"):
            sit(session, " ana", lambda order: pytest.fail("it opened"), take_over)
        assert sit(session, "ana", lambda order: draws(order, 3, "closed"), wanted="s00002") == 0
        assert claiming.holder(session, "s00001").user == "ana", "the claim is the first window's"
        return draws(order, 8, "submit")

    with attended() as attendant:
        assert sit(session, "ana", first) == 0
        assert len(attendant.notes) == 1
    patches = scene.workspace.drafts
    assert drafted_by(patches / "s00001" / "ana") is None and drafted_by(patches / "s00002" / "ana") == "ana"
    assert scene.store.annotation.suggestion("s00001").state == "accepted"


def test_a_draft_in_the_folder_that_people_shared_is_offered_and_goes_when_it_was_handed_in(scene, session, attended):
    patch = scene.workspace.drafts / "s00002"
    save_draft(patch, Draft(np.full(SHAPE, 5, np.uint32), None, "ana", 1.0))

    def goes_on(order: Order) -> Outcome:
        assert order.suggestion == "s00002" and order.drafts == (str(patch),)
        assert order.work == str(patch / "ana")
        write_labels(Path(order.work) / LABEL, np.full(SHAPE, 5, np.uint32))
        return Outcome("submit", draft=True, work=WORK, tool="a test")

    with attended():
        made = Sitting(session, "ana", True)
        made._window = Stand(goes_on)  # type: ignore[assignment]
        assert made.run(None, False) == 0, "what she has begun is what she is given"
    assert drafted_by(patch) is None
