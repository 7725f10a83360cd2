"""What a sitting does with answers that the daemon does not take: played without a window, by somebody who merely answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

from alcore.annotate.order import LABEL, Order, Outcome
from daemon.cli import claiming, sitting
from daemon.cli.session import Session
from daemon.cli.sitting import REJECTED, NoWindowError, Sitting
from tests.daemon.scene import Scene

WORK = {"active_s": 90.0, "clicks": 4, "changed_voxels": 0, "open_s": 120.0}
Act = Callable[[Order], Outcome | None]


class Person:
    """Stands for the window: one act for each patch that is opened."""

    def __init__(self, *acts: Act) -> None:
        self.acts, self.orders = list(acts), []

    def prepare(self, sam: bool) -> None:
        """No libraries are needed."""

    def run(self, order: Order, goes_on: bool, meanwhile: Any) -> Outcome | None:
        order.save()
        self.orders.append(order)
        return self.acts[len(self.orders) - 1](order)

    def last_words(self) -> str:
        return "it was killed"

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def sit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Person]]:
    """A function from what a person does with one patch after the other to the exit code, and what they were shown."""
    monkeypatch.setattr(sitting, "missing_window", lambda: [])
    monkeypatch.setattr(sitting, "VERDICT_S", 10.0)
    monkeypatch.setenv("DISPLAY", ":0")
    scene.volume("a.tif")
    for name in scene.suggest(4):
        (scene.workspace.queue / name / "image.tif").write_bytes(b"an image that nobody opens")

    def begin(*acts: Act, user: str = "ana") -> tuple[int, Person]:
        session = Session()
        session.option = scene.config
        made, person = Sitting(session, user, True), Person(*acts)
        made._window = person  # type: ignore[assignment]
        return made.run(None, False), person

    return begin


def submit(order: Order, goes_on: bool = True) -> Outcome:
    tifffile.imwrite(Path(order.work) / LABEL, [[1]])
    return Outcome("submit", goes_on, work=WORK, tool="a test")


def skip(order: Order) -> Outcome:
    return Outcome("skip", True, "artefact", "a fold", work=WORK)


def close(order: Order) -> Outcome:
    return Outcome("closed", work=WORK)


def test_a_skip_that_is_refused_does_not_end_the_sitting(scene, attended, sit, capsys):
    """Taken over while it was open; the label before it is heard of, and the next window says what happened."""
    session = Session()
    session.option = scene.config

    def too_late(order: Order) -> Outcome:
        claiming.claim(session, order.suggestion, "ben", take_over=True)
        return skip(order)

    with attended():
        code, person = sit(submit, too_late, close)
    assert code == 0
    assert [o.suggestion for o in person.orders] == ["s00001", "s00002", "s00003"]
    said = capsys.readouterr().out
    assert "s00001: accepted" in " ".join(said.split())
    assert any(n.startswith("s00002: not skipped (ben has s00002") for n in person.orders[2].news)
    assert claiming.holder(session, "s00002").user == "ben", "what is his was not given back"
    assert scene.store.annotation.suggestion("s00002").state == "claimed"


def test_the_minutes_of_a_skipped_patch_are_in_the_ledger(scene, attended, sit, alscope):
    with attended():
        assert sit(skip, close)[0] == 0
    (found,) = alscope("queue", "minutes", "--json").data["skips"]
    assert (found["suggestion"], found["user"], found["kind"], found["minutes"]) == ("s00001", "ana", "artefact", 1.5)


def test_a_label_beside_one_that_waits_already_is_not_lost_nor_the_end(scene, attended, sit, capsys):
    def beside(order: Order) -> Outcome:
        (scene.workspace.inbox / f"{order.suggestion}.nrrd").write_bytes(b"saved by somebody else, in another tool")
        return submit(order)

    with attended():
        code, person = sit(submit, beside, close)
    assert code == REJECTED
    assert "s00001: accepted" in " ".join(capsys.readouterr().out.split())
    (news,) = [n for n in person.orders[2].news if n.startswith("s00002: not handed in (")]
    assert "a label waits there to be checked" in news
    assert (scene.workspace.drafts / "s00002").is_dir() and list(scene.workspace.drafts.rglob(LABEL))
    assert scene.store.claims.holder("s00002") is None


def test_a_window_that_dies_still_lets_the_labels_before_it_be_heard_of(scene, attended, sit, capsys):
    with attended(), pytest.raises(NoWindowError, match="s00002: the window ended without a word"):
        sit(submit, lambda order: None)
    assert "s00001: accepted" in " ".join(capsys.readouterr().out.split())


def test_space_around_a_name_makes_nobody_else_of_a_person(scene, attended, sit):
    with attended() as attendant:
        assert sit(submit, close, user=" ana  ")[0] == 0
    assert attendant.notes[0]["user"] == "ana"
    (label,) = scene.store.labels.received("1 = 1")
    assert label.author == "ana"
    held = scene.store.claims.latest("s00001")
    assert held.user == "ana" and held.ended == "answered"
