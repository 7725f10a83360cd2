"""Binning: exact means, half-full bins, gaps between neighbours, and interpolation of parts as of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.nnunet import binning
from alcore.nnunet.plan import PlanRequest

FACTORS = st.sampled_from([(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 2, 4)])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17), FACTORS, st.integers(0, 99))
def test_bins_are_means_with_repeated_edges(z: int, y: int, x: int, factors: binning.Factors, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(2, z, y, x)).astype(np.float32)
    binned = binning.bin_image(image, factors)
    assert binned.shape[1:] == binning.binned_shape((z, y, x), factors)
    _, b, d = factors
    for j, i in np.ndindex(binned.shape[2:]):
        ys, xs = np.minimum(np.arange(j * b, j * b + b), y - 1), np.minimum(np.arange(i * d, i * d + d), x - 1)
        expected = image[:, :, ys][:, :, :, xs].mean(axis=(2, 3))
        np.testing.assert_allclose(binned[:, :, j, i], expected, rtol=1e-4, atol=1e-5)


def test_a_bin_is_foreground_from_half_full() -> None:
    labels = np.zeros((1, 2, 6), np.uint16)
    labels[0, 0, :2] = 7  # half of the first bin
    labels[0, 0, 2] = 9  # a quarter of the second
    assert binning.bin_instances(labels, (1, 2, 2)).tolist() == [[[7, 0, 0]]]


def test_touching_instances_are_separated_and_lonely_ones_are_untouched() -> None:
    labels = np.zeros((2, 5, 8), np.uint32)
    labels[0, 1:4, 0:3], labels[0, 1:4, 3:6] = 1, 300
    labels[1, 1:4, 1:5] = 300
    target = binning.separated_foreground(labels)
    assert target[0, 2].tolist() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert (target[1] == (labels[1] > 0)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), FACTORS, st.integers(0, 99), st.data())
def test_a_part_with_margin_is_interpolated_as_the_whole(
    y: int, x: int, factors: binning.Factors, seed: int, data: st.DataObject
) -> None:
    values = np.random.default_rng(seed).normal(size=(2, y, x)).astype(np.float32)
    whole = binning.upsample(values, factors)
    assert whole.shape == tuple(n * f for n, f in zip(values.shape, factors, strict=True))
    a = data.draw(st.integers(0, y - 1))
    low = max(0, a - 1)
    part = binning.upsample(values[:, low : a + 2], factors)
    f = factors[1]
    assert (part[:, (a - low) * f : (a - low + 1) * f] == whole[:, a * f : (a + 1) * f]).all()


def test_thickness_ignores_specks_and_elongation() -> None:
    mask = np.zeros((3, 60, 90), bool)
    mask[:, 10:31, 5:80] = True  # a bar 21 thick
    mask[:, 50, ::3] = True  # noise
    assert binning.object_thickness_px([mask]) == pytest.approx(22, abs=1)
    assert binning.object_thickness_px([mask & False]) is None


@pytest.mark.parametrize(
    ("thickness", "voxel_um", "width", "expected"),
    [
        (31.0, (40.0, 5.9, 5.9), 256, 4),
        (16.0, (40.0, 5.9, 5.9), 256, 2),
        (100.0, (1.0, 1.0, 1.0), 256, 1),  # isotropic: no plane is coarser than a pixel
        (31.0, None, 256, 4),
        (31.0, (40.0, 5.9, 5.9), 80, 2),  # a small patch keeps its context
        (5.0, (40.0, 5.9, 5.9), 256, 1),
    ],
)
def test_binning_follows_object_voxel_and_patch(
    thickness: float, voxel_um: tuple[float, float, float] | None, width: int, expected: int
) -> None:
    assert binning.choose(thickness, voxel_um, width) == (1, expected, expected)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("huge", "huge"),
        ({"name": "tiny", "binning": [2, 2, 2]}, "binning"),
        ({"name": "tiny", "memory_gb": 0}, "memory_gb"),
        ({"name": "tiny", "colour": 1}, "colour"),
    ],
)
def test_impossible_plans_are_named(value: object, word: str) -> None:
    from alcore.errors import PermanentError

    with pytest.raises(PermanentError, match=word):
        PlanRequest.from_json(value)  # type: ignore[arg-type]
