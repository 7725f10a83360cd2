"""Predictive entropy: the textbook's formula, whatever the pieces are and however the patches overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays import entropy
from alcore.arrays.blocking import layout
from alcore.arrays.entropy import PatchEntropy, entropy_of
from alcore.types import Box


def textbook(logits: np.ndarray) -> np.ndarray:
    """-sum p log p over the classes, over the log of their number."""
    p = np.stack([1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))])
    return -(p * np.log(p)).sum(axis=0) / np.log(2)


def test_the_formula():
    logits = np.linspace(-15, 15, 301)
    np.testing.assert_allclose(entropy_of(logits), textbook(logits), atol=1e-12)
    assert entropy_of(np.zeros(1)) == 1
    assert entropy_of(np.array([-1e30, 1e30])) == pytest.approx(0)


@st.composite
def scenes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(1, n)) for n in (4, 12, 12))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        start = [int(rng.integers(0, n)) for n in shape]
        boxes.append(
            Box(tuple(start), tuple(int(rng.integers(1, n - a + 1)) for n, a in zip(shape, start, strict=True)))
        )
    core = tuple(draw(st.integers(1, n)) for n in shape)
    logits = rng.normal(draw(st.sampled_from([-30.0, 0.0, 3.0, 30.0])), 4, shape).astype(np.float32)
    return logits, boxes, core


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([1, 7, 1 << 18]))
def test_pieces_in_any_order_equal_the_whole(scene, piece_voxels):
    logits, boxes, core = scene
    whole, pieces = PatchEntropy(boxes), PatchEntropy(boxes)
    whole.add(Box((0, 0, 0), logits.shape), logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "PIECE_VOXELS", piece_voxels)
        for box in reversed(layout(logits.shape, core)):
            pieces.add(box, logits[box.slices])
    expected = textbook(logits.astype(np.float64).clip(-700, 700))
    for name, side in (("entropy_fg", logits > 0), ("entropy_bg", logits <= 0)):
        found = whole.patches()[name]
        np.testing.assert_array_equal(pieces.patches()[name], found)
        assert pieces.volume() == whole.volume()
        assert found.shape == (len(boxes),)
        for row, box in enumerate(boxes):
            here = expected[box.slices][side[box.slices]]
            assert np.isnan(found[row]) if not here.size else found[row] == pytest.approx(here.mean(), abs=1e-4)
        if side.any():
            assert whole.volume()[name] == pytest.approx(expected[side].mean(), abs=1e-4)
        else:
            assert whole.volume()[name] is None


def test_a_network_that_says_nothing_at_all_does_not_end_the_prediction():
    broken = PatchEntropy([Box((0, 0, 0), (1, 2, 2))])
    broken.add(Box((0, 0, 0), (1, 2, 2)), np.full((1, 2, 2), np.nan, np.float32))
    assert broken.volume()["entropy_fg"] is None
