"""A real window that goes on from a draft which lies elsewhere than where it writes to."""

from __future__ import annotations

from pathlib import Path

from alcore.annotate.drafts import Draft, read_draft, save_draft
from alcore.annotate.order import Order
from alcore.annotate.patch import read_patch
from tests.annotate.patches import suggestion


def test_a_colleagues_draft_is_gone_on_from_and_left_as_it_is(play, tmp_path: Path) -> None:
    folder = suggestion(tmp_path / "queue" / "s00001")
    patch = read_patch(folder)
    labels = patch.pseudo.copy()
    labels[1, 30, 50] = 9
    save_draft(tmp_path / "ben", Draft(labels, None, "ben", 1000.0, 300.0, 50))
    elsewhere = (str(tmp_path / "gone"), str(tmp_path / "ben"))
    asked = Order("s00001", str(folder), str(tmp_path / "ana"), "ana", why_plain="no weights", drafts=elsewhere)
    played = play(asked, "draw_more_and_close")
    assert played.seen["offers"] and played.seen["labels"] == [0, 1, 2, 9] and played.seen["active_s"] == 0
    mine, theirs = read_draft(tmp_path / "ana", patch.shape), read_draft(tmp_path / "ben", patch.shape)
    assert mine is not None and mine.user == "ana" and {9, 11} <= set(mine.labels.flat) and mine.active_s < 300
    assert theirs is not None and (theirs.user, theirs.active_s) == ("ben", 300.0) and (theirs.labels == labels).all()
