"""What a session asks before a label is handed in, and what it keeps of everything that is drawn beside the label: on real layers
of napari without a window, the person's answers given by the test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alcore.annotate.canvas import AUTOMATIC, COMMITTED, CURRENT, Canvas
from alcore.annotate.drafts import Draft, read_draft
from alcore.annotate.order import LABEL, Order
from alcore.annotate.others import merged
from alcore.annotate.patch import Patch
from alcore.annotate.session import NOT_IN_THE_LABEL, Session
from alcore.volumes.labels import read_labels

pytest.importorskip("napari", reason='napari is not installed: make, or pip install ".[annotate]"')

SHAPE = (2, 12, 12)
PSEUDO = np.zeros(SHAPE, np.uint32)
PSEUDO[:, 2:5, 2:5] = 1


class Desk:
    """A session with its canvas. asked: the questions so far; each is answered by the next of `answers` that a test gave."""

    def __init__(self, work: Path, sam: bool = True, draft: Draft | None = None, depth: int = SHAPE[0]) -> None:
        from napari.components import ViewerModel

        self.viewer, self.work, self.closed = ViewerModel(), work, False
        self.asked: list[str] = []
        self.answers: list[str] = []
        pseudo, shape = PSEUDO[:depth], (depth, *SHAPE[1:])
        flat = 0 if depth == 1 else slice(None)
        start = (draft.labels if draft else pseudo)[flat].copy()
        self.viewer.add_image(np.zeros(start.shape, np.uint8), name="image")
        self.viewer.add_labels(start, name=COMMITTED)
        for name in (CURRENT, AUTOMATIC) if sam else ():
            self.viewer.add_labels(np.zeros_like(start), name=name)
        state = SimpleNamespace(widgets={"commit": self._commit}) if sam else None
        patch = Patch(np.zeros((1, *shape), np.uint8), pseudo, (slice(0, depth), slice(0, 12), slice(0, 12)), {})
        self.canvas = Canvas(self.viewer, depth == 1, state, 0.0, patch.shape)
        self.session = Session(Order("s1", "q", str(work), "ana"), patch, self.canvas, draft, self._ask, self._close)

    def layer(self, name: str) -> Any:
        return self.viewer.layers[name].data

    def add(self, name: str, labels: np.ndarray[Any, Any], **more: Any) -> None:
        self.viewer.add_labels(labels, name=name, **more)

    def _ask(self, question: str, answers: Sequence[str]) -> int:
        self.asked.append(question)
        return list(answers).index(self.answers.pop(0))

    def _close(self) -> None:
        self.closed = True

    def _commit(self, viewer: Any, layer: str, preserve_mode: str) -> None:
        """As micro_sam's, which only a window has; `test_window` plays the real one."""
        drawn, into = self.layer(layer), self.layer(COMMITTED)
        where = (drawn > 0) & ((into == 0) | (preserve_mode == "none"))
        into[where] = drawn[where] + into.max()
        self.viewer.layers[layer].data = np.zeros_like(drawn)

    def draft(self) -> Draft:
        found = read_draft(self.work, self.session.patch.shape)
        assert found is not None
        return found

    def label(self) -> np.ndarray[Any, Any]:
        return read_labels(self.work / LABEL)[0]


def test_an_automatic_segmentation_leaves_what_was_drawn(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.layer(COMMITTED)[:, 2:6, 2:6] = 5
    desk.layer(AUTOMATIC)[:, 0:8, 0:8] = 1
    desk.layer(CURRENT)[0, 7:10, 7:10] = 1
    desk.answers = ["Commit it and hand in"] * 2
    desk.session.submit(False)
    label = desk.label()
    assert (label[:, 2:6, 2:6] == 5).all() and label[0, 0, 0] > 0
    assert len(np.unique(label[0, 7:10, 7:10])) == 1 and label[0, 8, 8] not in (5, label[0, 0, 0])
    assert desk.asked[0].startswith(AUTOMATIC) and desk.asked[1].startswith(CURRENT)


@pytest.mark.parametrize("layer", [AUTOMATIC, CURRENT])
def test_what_was_not_committed_is_kept_and_comes_back_where_it_was(tmp_path: Path, layer: str) -> None:
    desk = Desk(tmp_path)
    desk.layer(layer)[1, 6:8, 6:8] = 3
    assert desk.session.closing() and desk.session.outcome is not None and desk.session.outcome.draft
    again = Desk(tmp_path, draft=desk.draft())
    assert (again.layer(layer)[1, 6:8, 6:8] == 3).all() and np.count_nonzero(again.layer(layer)) == 4
    assert again.session.set_apart == []


def test_what_was_set_apart_can_be_handed_in_at_last(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.layer(CURRENT)[1, 6:8, 6:8] = 3
    desk.session.closing()
    plain = Desk(tmp_path, sam=False, draft=desk.draft())
    assert plain.session.set_apart == [CURRENT]
    plain.layer(COMMITTED)[0, 11, 11] = 9
    plain.session.closing()
    back = Desk(tmp_path, draft=plain.draft())
    assert back.layer(COMMITTED)[0, 11, 11] == 9 and back.session.set_apart == [NOT_IN_THE_LABEL]
    back.answers = ["Add it where the label is empty"]
    back.session.submit(False)
    assert (back.label()[1, 6:8, 6:8] > 0).all() and f'"{NOT_IN_THE_LABEL}"' in back.asked[0]


@pytest.mark.parametrize("sam", [True, False])
def test_a_draft_is_not_written_again_when_nothing_was_done(tmp_path: Path, sam: bool) -> None:
    desk = Desk(tmp_path)
    desk.layer(CURRENT)[0, 8, 8] = 1
    desk.session.keep()
    again = Desk(tmp_path, sam, desk.draft())
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert again.session.keep()
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_layers_that_a_person_adds_are_asked_about_and_kept(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for name in ("mine", "empty"):
        desk.add(name, np.zeros(SHAPE, np.uint8))
    desk.layer("mine")[:, 4:8, 4:8] = 1
    desk.layer("mine")[0, 11, 0] = 6
    desk.answers = ["Back to work"]
    desk.session.submit(False)
    assert not desk.closed and len(desk.asked) == 1 and '"mine"' in desk.asked[0]
    desk.session.keep()
    assert np.array_equal(desk.draft().others > 0, desk.layer("mine") > 0)  # type: ignore[operator]
    desk.answers = ["Add it where the label is empty"]
    desk.session.submit(False)
    label = desk.label()
    assert desk.closed and (label[PSEUDO == 1] == 1).all()
    assert len(np.unique(label)) == 4 and label[0, 11, 0] not in (0, label[0, 7, 7]) and label[0, 7, 7] > 1
    assert desk.draft().others is None, "it is in the label now"


def test_a_layer_that_is_left_out_stays_in_the_draft_until_the_label_was_accepted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.layer(COMMITTED)[0, 0, 0] = 2
    desk.add("mine", np.ones(SHAPE, np.int64))
    desk.answers = ["Leave it out"]
    desk.session.submit(False)
    assert np.count_nonzero(desk.label()) == np.count_nonzero(PSEUDO) + 1
    assert desk.draft().others is not None


@pytest.mark.parametrize("depth", [1, 2])
def test_a_layer_lies_where_it_is_shown(tmp_path: Path, depth: int) -> None:
    desk = Desk(tmp_path, depth=depth)
    data = np.arange(1, 1 + depth * 16, dtype=np.uint8).reshape(depth, 4, 4)
    flat = 0 if depth == 1 else slice(None)
    desk.add("moved", data[flat], translate=(-2.0, 10.4) if depth == 1 else (0.0, -2.0, 10.4))
    desk.add("every slice", np.ones((1, 1), np.uint8), translate=(5.0, 5.0))
    desk.add("elsewhere", np.ones((4, 4), np.uint8), translate=(50.0, -50.0))
    found = desk.canvas.others.drawn()
    assert sorted(found) == ["every slice", "moved"]
    expected = np.zeros((depth, *SHAPE[1:]), np.uint32)
    expected[:, 0:2, 10:12] = data[:, 2:, :2]
    assert np.array_equal(found["moved"], expected)
    assert np.argwhere(found["every slice"]).tolist() == [[z, 5, 5] for z in range(depth)]


def test_merging_keeps_objects_apart_and_the_label_as_it_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = (rng.integers(0, 3, SHAPE) * 1_000_000_000).astype(np.uint32)
        drawn = (rng.integers(0, 3, SHAPE) * 2_000_000_000).astype(np.uint32)
        out = merged(labels, drawn)
        assert np.array_equal(out[labels > 0], labels[labels > 0])
        assert np.array_equal(out > 0, (labels > 0) | (drawn > 0))
        free = (labels == 0) & (drawn > 0)
        pairs = {(int(a), int(b)) for a, b in zip(drawn[free], out[free], strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert not {b for _, b in pairs} & set(labels.ravel().tolist())


@pytest.mark.parametrize("where", [CURRENT, AUTOMATIC, "mine"])
def test_no_object_here_is_not_taken_from_somebody_who_drew_one(tmp_path: Path, where: str) -> None:
    desk = Desk(tmp_path)
    desk.layer(COMMITTED)[:] = 0
    desk.add("mine", np.zeros(SHAPE, np.uint8))
    desk.layer(where)[0, 5, 5] = 1
    desk.answers = ["Back to work", "They are wrong: there is no object here"]
    desk.session.nothing_here(True)
    assert not desk.closed and where in desk.asked[0]
    desk.session.nothing_here(True)
    assert desk.closed and desk.session.outcome is not None and desk.session.outcome.answer == "empty"


def test_no_object_here_asks_nothing_where_there_is_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.layer(COMMITTED)[:] = 0
    desk.session.nothing_here(True)
    assert desk.closed and desk.asked == []


def test_a_pseudo_label_that_nobody_touched_is_handed_in_on_purpose_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.answers = ["Back to work", "It is right as it is"]
    desk.session.submit(True)
    assert not desk.closed and not (tmp_path / LABEL).exists() and "Nothing was changed" in desk.asked[0]
    desk.session.submit(True)
    assert desk.closed and np.array_equal(desk.label(), PSEUDO)
    assert json.loads((tmp_path / "outcome.json").read_text())["work"]["changed_voxels"] == 0


def test_a_label_that_was_changed_is_handed_in_without_a_question(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.layer(COMMITTED)[0, 2, 2] = 0
    desk.session.submit(True)
    assert desk.closed and desk.asked == []
