"""What is drawn outlives whatever a person does: sessions with a viewer that is merely remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.annotate.draft_files import ASIDE, own_folder, to_begin_with
from alcore.annotate.drafts import Draft, first_draft, read_draft, save_draft
from alcore.annotate.order import Order
from alcore.annotate.patch import Patch
from alcore.annotate.session import Session

SHAPE = (2, 8, 8)
PSEUDO = np.zeros(SHAPE, np.uint32)
PSEUDO[:, 1:3, 1:3] = 1


class NoOthers:
    """No layers beside those that a canvas has of itself."""

    def __init__(self) -> None:
        self.layers: dict[str, Any] = {}

    def drawn(self) -> dict[str, Any]:
        return {name: labels for name, labels in self.layers.items() if labels.any()}

    def show(self, name: str, labels: Any) -> None:
        self.layers[name] = labels.copy()


class Paper:
    """Stands for the canvas."""

    def __init__(self, labels: Any, sam: bool) -> None:
        names = ("current_object", "auto_segmentation") if sam else ()
        self.layers = {"committed_objects": labels.copy()} | {name: np.zeros(SHAPE, np.uint32) for name in names}
        self.others = NoOthers()

    def layer(self, name: str) -> Any:
        return self.layers[name].copy()

    def put(self, name: str, labels: Any) -> None:
        self.layers[name] = np.array(labels)


class Sat:
    """Somebody who opened a patch. answer: what they say to any question, as the buttons are written."""

    def __init__(self, drafts: Path, user: str, sam: bool = True, answer: str = "") -> None:
        work = own_folder(drafts, user)
        folders = to_begin_with(drafts, user)
        self.work, self.asked = work, []
        self.draft = first_draft((work, *folders), SHAPE)
        self.paper = Paper(self.draft.labels if self.draft else PSEUDO, sam)
        self.answer = answer
        patch = Patch(np.zeros((1, *SHAPE), np.uint8), PSEUDO, tuple(slice(0, n) for n in SHAPE), {})
        order = Order("s1", "queue", str(work), user, drafts=tuple(map(str, folders)))
        work.mkdir(parents=True, exist_ok=True)
        canvas: Any = self.paper
        self.session = Session(order, patch, canvas, self.draft, self._asks, lambda: None)

    def _asks(self, question: str, answers: Sequence[str]) -> int:
        self.asked.append(question)
        return answers.index(self.answer) if self.answer else len(answers) - 1

    def draw(self, value: int, place: tuple[int, int, int], layer: str = "committed_objects") -> None:
        self.paper.layers[layer][place] = value

    def holds(self, value: int) -> bool:
        return bool((self.paper.layers["committed_objects"] == value).any())

    def kept(self) -> Draft:
        found = read_draft(self.work, SHAPE)
        assert found is not None
        return found


@pytest.fixture
def sit(tmp_path: Path) -> Callable[..., Sat]:
    """A function (user, sam, answer) -> somebody who opened the one patch of this test."""
    return lambda *given, **more: Sat(tmp_path / "s1", *given, **more)


def test_two_people_on_one_patch_lose_nothing_to_each_other(sit) -> None:
    """One takes it over from the other, whose window stays open, hands in, and both close."""
    ana = sit("ana")
    ana.draw(7, (0, 5, 5))
    assert ana.session.keep()
    ben = sit("ben")
    assert ben.holds(7), "he goes on from what she drew"
    ben.draw(8, (0, 6, 6))
    ben.draw(0, (0, 5, 5))
    ben.session.submit(False)
    assert ben.session.outcome.answer == "submit" and ben.kept().user == "ben" and 7 not in ben.kept().labels
    assert ana.session.closing() and ana.session.outcome.draft
    assert ana.kept().user == "ana" and 7 in ana.kept().labels and 8 not in ana.kept().labels
    assert sit("ana").holds(7) and not sit("ana").holds(8)


def test_time_is_that_of_who_worked(sit, tmp_path: Path) -> None:
    ana = sit("ana")
    ana.draw(7, (0, 5, 5))
    ana.session.activity.active_s, ana.session.activity.clicks = 120.0, 40
    ana.session.closing()
    ben = sit("ben")
    assert (ben.session.activity.active_s, ben.session.activity.clicks) == (0.0, 0)
    assert sit("ana").session.activity.active_s == 120.0
    assert ben.session.closing() and not ben.session.outcome.draft, "he looked, and drew nothing"
    assert not read_draft(ben.work, SHAPE)


def test_a_draft_of_before_people_had_folders_of_their_own_is_offered(sit, tmp_path: Path) -> None:
    save_draft(tmp_path / "s1", Draft(np.full(SHAPE, 9, np.uint32), None, "ana", 1000.0, 60.0, 12))
    ana, ben = sit("ana"), sit("ben")
    assert ana.holds(9) and ana.session.activity.active_s == 60.0 and ana.session.keep()
    assert ben.holds(9) and ben.session.activity.active_s == 0.0 and not ben.session.keep()
    ben.draw(3, (0, 0, 0))
    ben.session.closing()
    assert (read_draft(tmp_path / "s1", SHAPE).labels == 9).all(), "it is not written to"
    assert not sit("ana").holds(3)


def test_starting_again_asks_and_can_be_taken_back(sit) -> None:
    ana = sit("ana")
    ana.draw(7, (0, 5, 5))
    ana.draw(1, (1, 6, 6), "current_object")
    ana.session.keep()
    ana.session.start_again()
    assert len(ana.asked) == 1 and ana.holds(7), "the last answer goes back to work"
    ana.answer = "Start again"
    ana.session.start_again()
    assert not ana.paper.layers["current_object"].any()
    assert np.array_equal(ana.paper.layers["committed_objects"], PSEUDO)
    ana.session.start_again()  # once more, with nothing drawn that could be put aside
    ana.session.closing()
    assert 7 not in ana.kept().labels and 7 in read_draft(ana.work / ASIDE, SHAPE).labels
    later = sit("ana", answer="Take back what was put aside")
    assert not later.holds(7) and later.draft is not None, "where there is a draft there is the button"
    later.draw(4, (0, 0, 0))
    later.session.start_again()
    assert later.holds(7) and not later.holds(4) and later.paper.layers["current_object"][1, 6, 6] == 1
    assert 4 in read_draft(ana.work / ASIDE, SHAPE).labels


def test_starting_again_on_a_full_disk_changes_nothing(sit, monkeypatch) -> None:
    ana = sit("ana", answer="Start again")
    ana.draw(7, (0, 5, 5))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alcore.annotate.drafts.os.fsync", full)
    answers = iter(["Start again", "Go back"])
    monkeypatch.setattr(ana.session, "_ask", lambda question, given: given.index(next(answers)))
    ana.session.start_again()
    assert ana.holds(7) and next(answers, None) is None


def test_starting_again_from_a_colleagues_draft_leaves_it_as_it_is(sit) -> None:
    ana = sit("ana")
    ana.draw(7, (0, 5, 5))
    ana.session.closing()
    ben = sit("ben", answer="Start again")
    ben.session.start_again()
    ben.session.closing()
    assert 7 in ana.kept().labels and not sit("ben").holds(7)


@pytest.mark.parametrize("layer", ["current_object", "auto_segmentation"])
def test_what_was_not_committed_outlives_a_window_without_its_layer(sit, layer: str) -> None:
    ana = sit("ana")
    ana.draw(5, (1, 6, 6), layer)
    assert ana.session.closing() and ana.session.outcome.draft
    plain = sit("ana", sam=False)
    assert plain.session.set_apart == [layer]
    plain.draw(7, (0, 5, 5))
    plain.session.closing()
    kept = plain.kept()
    assert 7 in kept.labels and kept.others is not None and kept.others[1, 6, 6] > 0
    again = sit("ana")
    assert again.holds(7) and again.session.set_apart, "shown, and said"


def test_slices_that_were_looked_at_are_kept_without_a_stroke(sit) -> None:
    ana = sit("ana")
    ana.session.seen = (0, 0)
    assert ana.session.closing() and ana.session.outcome.draft
    assert sit("ana").session.seen == (0, 0)
