"""Drafts are whole or not there; time that was worked is time between things done."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alcore.annotate.activity import Activity
from alcore.annotate.draft_files import DRAFT, drafted_by, forget_draft
from alcore.annotate.drafts import Draft, read_draft, same_drawing, save_draft
from alcore.annotate.order import Order, Outcome, Weights, read_order, read_outcome
from alcore.errors import PermanentError

SHAPE = (2, 5, 6)


def draft(value: int, **more) -> Draft:
    return Draft(np.full(SHAPE, value, np.uint32), None, "ana", 1000.0, **more)


def test_a_draft_comes_back_with_what_was_said_of_it(tmp_path: Path) -> None:
    labels = np.arange(60, dtype=np.uint32).reshape(SHAPE) * 70_000_000
    drawn = (labels > 7).astype(np.uint32)
    kept = Draft(labels, drawn, "ana", 12.5, 3.5, 7, (0, 1), drawn * 2, drawn * 3)
    save_draft(tmp_path / "new", kept)
    found = read_draft(tmp_path / "new", SHAPE)
    assert found is not None and found.uncommitted is not None
    assert np.array_equal(found.labels, labels) and np.array_equal(found.uncommitted, drawn)
    assert np.array_equal(found.automatic, drawn * 2) and np.array_equal(found.others, drawn * 3)
    assert same_drawing(found, kept)
    assert (found.user, found.saved_at, found.active_s, found.clicks, found.seen) == ("ana", 12.5, 3.5, 7, (0, 1))
    save_draft(tmp_path / "new", draft(3))
    found = read_draft(tmp_path / "new", SHAPE)
    assert found is not None and found.uncommitted is None and (found.labels == 3).all() and found.seen is None
    assert found.automatic is None and found.others is None
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["draft.json", "draft.tif"]


@pytest.mark.parametrize("changed", ["labels", "uncommitted", "automatic", "others", "seen"])
def test_whatever_a_person_changed_is_another_drawing(changed: str) -> None:
    one, more = draft(1), {"seen": (0, 0)}.get(changed, np.ones(SHAPE, np.uint32) * 5)
    other = replace(one, **{changed: more})
    assert not same_drawing(one, other) and not same_drawing(other, one)
    assert same_drawing(other, replace(other, active_s=7.0, clicks=3, saved_at=5.0))


def test_an_object_that_was_just_committed_is_in_one_file_at_least_whenever_the_disk_is_full(
    tmp_path: Path, monkeypatch
) -> None:
    drawn = np.zeros(SHAPE, np.uint32)
    drawn[0, 0, 0] = 1
    save_draft(tmp_path, replace(draft(1), uncommitted=drawn, automatic=drawn))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alcore.annotate.drafts.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_draft(tmp_path, draft(2))
    found = read_draft(tmp_path, SHAPE)
    assert found is not None and np.array_equal(found.uncommitted, drawn) and np.array_equal(found.automatic, drawn)


def test_what_is_no_draft_of_this_patch_is_not_taken_for_one(tmp_path: Path) -> None:
    assert read_draft(tmp_path, SHAPE) is None
    save_draft(tmp_path, draft(1))
    assert read_draft(tmp_path, (2, 5, 7)) is None
    (tmp_path / "draft.json").write_text("{half")
    found = read_draft(tmp_path, SHAPE)
    assert found is not None and found.active_s == 0
    content = (tmp_path / DRAFT).read_bytes()
    (tmp_path / DRAFT).write_bytes(content[: len(content) // 2])
    assert read_draft(tmp_path, SHAPE) is None


def test_a_draft_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch) -> None:
    save_draft(tmp_path, draft(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alcore.annotate.drafts.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_draft(tmp_path, draft(2))
    found = read_draft(tmp_path, SHAPE)
    assert found is not None and (found.labels == 1).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draft.json", "draft.tif"]


def test_forgetting_a_draft_leaves_what_else_is_there(tmp_path: Path) -> None:
    save_draft(tmp_path, draft(1))
    (tmp_path / "mine.txt").write_text("notes")
    forget_draft(tmp_path)
    assert drafted_by(tmp_path) is None and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=30), st.integers(1, 50))
def test_active_time_is_the_sum_of_short_pauses(gaps: list[tuple[int, bool]], idle_s: int) -> None:
    activity, now = Activity(float(idle_s)), 0.0
    activity.seen(now)
    for gap, click in gaps:
        now += gap
        activity.seen(now, click)
    assert math.isclose(activity.active_s, sum(g for g, _ in gaps if g <= idle_s))
    assert activity.clicks == sum(click for _, click in gaps)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    activity = Activity(30.0, active_s=10.0, clicks=2)
    for now in (100.0, 105.0, 50.0, 52.0):
        activity.seen(now)
    assert activity.active_s == 17.0


def test_order_and_outcome_come_back_as_they_were(tmp_path: Path) -> None:
    order = Order(
        "s00001",
        "q",
        str(tmp_path),
        "ana",
        Weights("m", ("a", "b")),
        facts=(("why", "n\u00e9w"),),
        reasons=("other",),
    )
    assert read_order(order.save()) == order
    plain = Order("s00001", "q", str(tmp_path), why_plain="none here")
    assert read_order(plain.save()) == plain
    outcome = Outcome("submit", True, seen=(1, 3), work={"active_s": 1.5})
    assert read_outcome(tmp_path) is None
    outcome.save(tmp_path)
    assert read_outcome(tmp_path) == outcome
    (tmp_path / "outcome.json").write_text('{"answer": "submit"')
    assert read_outcome(tmp_path) is None
    with pytest.raises(PermanentError, match="not an order"):
        read_order(tmp_path / "nothing.json")
