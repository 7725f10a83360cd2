"""What looks like a slip in a label is asked about, and what people really draw is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from alcore.arrays.label_checks import copied, coverage, shape_words, shapes
from alcore.arrays.label_values import MAX_ID, order_hint, small_enough, whole_numbers
from alcore.arrays.placement import better_place
from alcore.arrays.synthetic import em_volume

Labels = np.ndarray[Any, Any]


def empty() -> Labels:
    return np.zeros((6, 40, 40), np.uint32)


def words(labels: Labels) -> list[str]:
    return shape_words(shapes(labels), np.arange(1, labels.max() + 1) * 10)


def test_solid_objects_raise_no_question() -> None:
    labels = empty()
    labels[1:4, 3:12, 3:12], labels[1:4, 12:20, 3:12], labels[0, 30:33, 30:33] = 1, 2, 3
    assert words(labels) == []
    assert shapes(labels).cut.tolist() == [False, False, True]


def test_pieces_and_specks() -> None:
    labels = empty()
    labels[1, 3:12, 3:12] = labels[4, 3:12, 3:12] = 1
    labels[1, 20:24, 20:24] = labels[2, 24:28, 24:28] = 2
    labels[0, 0, 0:7], labels[0, 2, 0:8] = 3, 4
    assert words(labels) == [
        "in several pieces: 1 of 4 objects (ids 10)",
        "fewer than 8 voxels: 1 of 4 objects (ids 30)",
    ]


def test_pieces_that_may_meet_outside_of_the_patch_are_no_question() -> None:
    labels = empty()
    labels[1:3, 0:4, 3:12] = labels[1:3, 8:12, 0:3] = 1  # both go on outside
    labels[1:3, 30:40, 3:12] = labels[1:3, 24:28, 3:12] = 2  # one of them ends inside
    labels[0:2, 20, 20:30] = labels[4:6, 20, 20:30] = 3  # above and below
    assert words(labels) == ["in several pieces: 1 of 3 objects (ids 20)"]
    assert shapes(labels).cut.all()
    flat = labels[1:2].copy()
    flat[0, 10, 30:39] = 3
    assert words(flat) == ["in several pieces: 2 of 3 objects (ids 20, 30)"]


def test_holes_outlines_and_what_is_neither() -> None:
    labels = empty()
    labels[0:5, 2:14, 2:14] = 1
    labels[2, 6:9, 6:9] = 0  # a cavity
    labels[0:5, 20:32, 2:14] = 2
    labels[0:5, 22:30, 4:12] = 0  # an outline, slice by slice
    labels[0:5, 2:14, 20:32] = 3
    labels[:5, 6:8, 24:26] = 0  # a channel through all slices: a ring is a shape
    labels[0:5, 20:32, 20:32] = 4
    labels[2, 24:28, 24:28] = 5  # an object in an object is no hole
    assert words(labels) == [
        "drawn as outlines, with background inside: 1 of 5 objects (ids 20)",
        "with holes: 1 of 5 objects (ids 10)",
    ]
    flat = np.zeros((1, 20, 20), np.uint32)
    flat[0, 2:12, 2:12] = 1
    flat[0, 5, 5] = 0
    assert words(flat) == ["with holes: 1 of 1 objects (ids 10)"]


def test_copies_and_coverage() -> None:
    pseudo = empty()
    pseudo[:, 0:20, 0:20], pseudo[:, 20:30, 20:30] = 1, 2
    labels = np.where(pseudo == 2, 7, 0)
    assert copied(labels > 0, pseudo) == ["its one object is identical to the pseudo-label: was it saved unchanged?"]
    assert copied(np.roll(labels > 0, 1, 2).astype(int), pseudo) == []
    assert coverage(pseudo, pseudo, None) == []
    few = empty()
    few[0:3, 0:5, 0:5] = 1
    assert coverage(few, pseudo, None) == ["0.8% of it is foreground, 31.2% in the pseudo-label: is something missing?"]
    assert coverage(pseudo, few, None) == [
        "31.2% of it is foreground, 0.8% in the pseudo-label: is the background saved as an object?"
    ]
    seen = np.zeros(few.shape, bool)
    seen[0:3, 0:5, 0:5] = True
    assert coverage(few, pseudo, seen) == [], "where nobody looked, nothing is missing"


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.array([0.5]), "fractions"),
        (np.array([np.nan]), "fractions"),
        (np.array([-1.0]), "ids from -1"),
        (np.array([-1], np.int8), "ids from -1"),
        (np.array([2**33], np.uint64), "ids from 8589934592"),
        (np.array([2.0**40]), "ids from"),
    ],
)
def test_values_that_are_no_ids(mask: Labels, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        whole_numbers(mask)


def test_values_that_are() -> None:
    assert whole_numbers(np.array([0, 65535], np.uint16)).tolist() == [0, 65535]
    assert whole_numbers(np.array([2.0**31], np.float64)).tolist() == [2**31]
    small_enough(np.array([MAX_ID - 1]))
    with pytest.raises(ValueError, match="ids from 0 to 2147483648"):
        small_enough(np.array([MAX_ID]))


@pytest.mark.parametrize(
    ("shape", "says"),
    [((60, 40, 5), "XYZ"), ((40, 5, 60), "YZX"), ((60, 5, 40), "XZY"), ((5, 40, 60), "ZYX"), ((5, 5, 60), "")],
)
def test_axes_in_another_order(shape: tuple[int, ...], says: str) -> None:
    hint = order_hint(shape, (5, 40, 60))
    assert says in hint and bool(hint) == bool(says)
    # the hint is right: transposing an array that is stored so gives the wanted shape
    if says:
        assert np.empty(shape).transpose([says.index(axis) for axis in "ZYX"]).shape == (5, 40, 60)


def planted() -> list[tuple[str, Any]]:
    return [
        ("mirrored in x", lambda a: a[:, :, ::-1]),
        ("mirrored in y", lambda a: a[:, ::-1]),
        ("mirrored in z", lambda a: a[::-1]),
        ("mirrored in y and x", lambda a: a[:, ::-1, ::-1]),
        ("shifted by (z, y, x) = (0, 0, -8)", lambda a: np.roll(a, 8, 2)),
        ("shifted by (z, y, x) = (0, 12, 0)", lambda a: np.roll(a, -12, 1)),
    ]


def test_a_label_that_was_mirrored_or_moved_against_its_pseudo_label() -> None:
    image, truth = em_volume((16, 128, 96), (0.05, 0.01, 0.01), np.random.default_rng(3))
    pseudo = np.where(truth % 4 == 0, 0, truth)  # it misses objects
    assert better_place(truth, pseudo, image.astype(np.float32)) is None
    for says, plant in planted():
        found = better_place(np.ascontiguousarray(plant(truth)), pseudo, image.astype(np.float32))
        assert found is not None and found.words() == says


def test_nothing_is_said_of_what_says_nothing() -> None:
    image = np.random.default_rng(0).normal(size=(6, 40, 40)).astype(np.float32)
    assert better_place(empty(), empty(), image) is None
    assert better_place(empty() + 1, None, image) is None
    labels = empty()
    labels[2, 5:15, 5:15] = 1
    assert better_place(labels, None, np.zeros_like(image)) is None
    assert better_place(labels, None, image) is None
    assert better_place(labels, np.roll(labels, (1, 2), (1, 2)), image) is None, "that is how people draw"


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("sbem_mito_z010-039", (slice(0, 30), slice(236, 492), slice(31, 287))),
        ("ovule_nuclei_1135", (slice(None),) * 3),
        ("ovule_cells", (slice(None),) * 3),
        ("mouse_embryo_8cell", (slice(None),) * 3),
        ("fib_gala_train", (slice(None),) * 3),
    ],
)
def test_real_labels_against_nothing_but_the_image(
    real_data: Callable[[str], Path], name: str, box: tuple[slice, ...]
) -> None:
    """True labels raise no question; mirrored ones do, without any pseudo-label."""
    image = tifffile.imread(real_data(name) / "image.tif")[box].astype(np.float32)
    truth = tifffile.imread(real_data(name) / "labels.tif")[box]
    assert better_place(truth, None, image) is None
    for axis, letter in ((1, "y"), (2, "x")):
        found = better_place(np.ascontiguousarray(np.flip(truth, axis)), None, image)
        assert found is not None and found.mirrored == letter
