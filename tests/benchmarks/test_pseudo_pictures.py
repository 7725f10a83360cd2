"""Pictures of failures hold each failure once and nothing that was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pseudo_pictures import without_partner, write


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = np.zeros((3, 40, 60), np.uint32)
    truth[:, 2:12, 2:12], truth[:, 20:30, 2:12], truth[1, 20:30, 40:50] = 1, 2, 3
    found = np.zeros_like(truth)
    found[:, 3:12, 2:12] = 7  # nine tenths of object 1
    found[:, 20:25, 2:12] = 8  # exactly half of object 2: no partner
    found[1, 2:8, 50:56] = 9  # nothing is there
    return np.where(truth > 0, 200, 20).astype(np.uint8), truth, found


def test_objects_without_a_partner_are_those_that_the_scores_count_as_missed_or_wrong() -> None:
    _, truth, found = scene()
    assert set(np.unique(without_partner(truth, found))) == {0, 2, 3}
    assert set(np.unique(without_partner(found, truth))) == {0, 8, 9}
    assert not without_partner(truth, truth).any() and not without_partner(np.zeros_like(truth), truth).any()


def test_a_picture_of_five_parts_on_the_slice_with_most_failures(tmp_path: Path) -> None:
    image, truth, found = scene()
    path = write(tmp_path / "made", "set", image, truth, found)
    shown = np.asarray(Image.open(path))
    assert shown.shape[0] == 40 and shown.shape[2] == 3
    parts = [shown[:, k * 64 : k * 64 + 60].astype(int) for k in range(5)]
    coloured = [np.argwhere(np.ptp(p, axis=2) > 0) for p in parts]
    assert len(coloured[0]) == 0, "the image comes without outlines"
    assert all(len(c) for c in coloured[1:])
    assert (coloured[3][:, 0] >= 20).all(), "object 1 was found"
    assert (coloured[3][:, 1] >= 40).any(), "object 3 lies on slice 1 alone"
