"""Traits of patches from arrays: strips that cover every patch once, image figures, objects shared out exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.imagetraits import ImageLook
from alcore.arrays.normalise import measure
from alcore.arrays.objecttraits import ObjectShares, borders
from alcore.arrays.strips import span, strips, within
from alcore.arrays.tiling import tile
from alcore.types import Box


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    patch=st.tuples(st.integers(1, 5), st.integers(1, 15), st.integers(1, 15)),
    most_px=st.integers(1, 900),
)
@settings(max_examples=80, deadline=None)
def test_strips_hold_every_patch_once_and_read_what_it_is(shape, patch, most_px):
    boxes = tile(shape, patch)
    image = np.arange(np.prod(shape)).reshape(shape)
    runs = strips(boxes, most_px)
    assert sorted(i for run in runs for i in run) == list(range(len(boxes)))
    for run in runs:
        together = [boxes[i] for i in run]
        area = span(together, together[0].start[0], together[0].shape[0])
        assert area.shape[1] * area.shape[2] <= most_px or len(run) == 1
        block = image[area.slices]
        for i in run:
            np.testing.assert_array_equal(block[:, *within(boxes[i], area)], image[boxes[i].slices])


def look(planes: np.ndarray, volume: np.ndarray | None = None):
    collected = ImageLook(measure((planes if volume is None else volume)[None], np.random.default_rng(0)))
    for plane in planes:
        collected.add(plane[None])
    return collected.result()


@given(seed=st.integers(0, 99), gain=st.sampled_from([0.5, 3.0, -1.0, -7.0]), offset=st.integers(-50, 50))
@settings(max_examples=30, deadline=None)
def test_figures_do_not_depend_on_gain_offset_or_polarity(seed, gain, offset):
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(5, 20, 24)).cumsum(axis=2).astype(np.float64)
    one, two = look(volume[1:3], volume), look(volume[1:3] * gain + offset, volume * gain + offset)
    for name in ("sharpness", "contrast", "clipped", "blank"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-6)


def test_each_figure_follows_what_it_is_named_for():
    from scipy import ndimage

    rng = np.random.default_rng(0)
    volume = rng.integers(20, 230, (8, 48, 48)).astype(np.uint8)
    blurred = np.stack([ndimage.gaussian_filter(p.astype(float), 2) for p in volume])
    assert look(blurred).sharpness < 0.5 * look(volume).sharpness
    faint = ((volume.astype(float) - 125) / 10 + 125).astype(np.uint8)
    assert look(faint, volume).contrast == pytest.approx(0.1, abs=0.02) and look(volume).contrast == pytest.approx(
        1, abs=0.02
    )
    charged = volume.copy()
    charged[:2, :24] = 255
    assert look(charged[:2]).clipped == pytest.approx(0.5, abs=0.02) and look(charged[2:], charged).clipped < 0.02
    charged[:2, :24] = 0  # the other end
    assert look(charged[:2]).clipped == pytest.approx(0.5, abs=0.02)
    half = volume.copy()
    half[4:] = 77
    assert look(half).blank == 0.5 and look(volume).blank == 0
    constant = look(np.full((2, 8, 8), 9, np.uint8))
    assert constant.blank == 1 and constant.clipped == 0
    assert np.isnan(constant.sharpness) and np.isnan(constant.contrast)
    assert np.isfinite(look(volume[:, :2, :2]).contrast), "patches of two pixels have no sharpness, but do no harm"
    with pytest.raises(ValueError, match="no slice"):
        ImageLook(measure(volume[None], rng)).result()


@given(seed=st.integers(0, 199), block=st.integers(1, 4), n_ids=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_objects_are_shared_out_exactly(seed, block, n_ids):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_ids + 1, (6, 14, 15)).astype(np.uint32) * (rng.random((6, 14, 15)) < 0.5)
    boxes = tile(labels.shape, (3, 5, 6))
    shares = ObjectShares(len(boxes), n_ids)
    for i, box in enumerate(boxes):
        inside = labels[box.slices]
        for z in range(0, len(inside), block):
            shares.add(i, inside[z : z + block])
    confidence = rng.random(n_ids)
    found = shares.result(confidence)
    ids = [i for i in range(1, n_ids + 1) if (labels == i).any()]
    assert found["n_objects"].sum() == pytest.approx(len(ids), rel=1e-5)
    for i, box in enumerate(boxes):
        inside = labels[box.slices]
        parts = {j: (inside == j).sum() / (labels == j).sum() for j in ids}
        assert found["foreground"][i] == pytest.approx((inside > 0).mean())
        assert found["n_objects"][i] == pytest.approx(sum(parts.values()), abs=1e-5)
        if sum(parts.values()):
            mean = sum(w * confidence[j - 1] for j, w in parts.items()) / sum(parts.values())
            assert found["confidence"][i] == pytest.approx(mean, abs=1e-5)
        else:
            assert np.isnan(found["confidence"][i])
        edge = 0
        for z, y, x in np.ndindex(inside.shape):
            around = [(y + a, x + b) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            beside = [inside[z, r, c] for r, c in around if 0 <= r < inside.shape[1] and 0 <= c < inside.shape[2]]
            edge += inside[z, y, x] > 0 and any(b != inside[z, y, x] for b in beside)
        assert found["border"][i] == pytest.approx(edge / inside.size)
    assert not borders(np.ones((2, 4, 4), int)).any()
    if n_ids:
        with pytest.raises(ValueError, match="beyond"):
            shares.add(0, np.full((1, 1, 1), n_ids + 1))


def test_a_box_is_found_in_a_wider_area():
    assert within(Box((0, 5, 7), (1, 2, 3)), Box((0, 4, 4), (1, 9, 9))) == (slice(1, 3), slice(3, 6))
