"""Streamed statistics equal those of the whole array; normalisation is the same in a patch and in its volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays import normalise
from alcore.types import IntensityStats


def expected(values: np.ndarray) -> IntensityStats:
    x = values.astype(np.float64)
    low, high = np.percentile(x, [0.5, 99.5])
    return IntensityStats(x.mean(), x.std(), x.min(), x.max(), low, high)


def close(a: IntensityStats, b: IntensityStats, rtol: float = 1e-9) -> None:
    names = IntensityStats.__dataclass_fields__
    scale = max(abs(b.minimum), abs(b.maximum), 1e-30)
    for name in names:
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rtol, abs=rtol * scale), name


DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DTYPES), st.integers(1, 3000), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3000), max_size=4)
)
def test_any_cutting_into_blocks_gives_the_statistics_of_the_whole(dtype, n, seed, cuts):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        span = min(int(info.max) - int(info.min), 10 ** int(rng.integers(1, 9)))
        values = rng.integers(info.min, int(info.min) + span, n, dtype=dtype, endpoint=True)
        values = np.maximum(values, -(2**50)) if dtype == "int64" else values
    else:
        values = (rng.normal(rng.normal() * 1000, 10.0, n)).astype(dtype)
    stream = normalise.StatsStream(dtype, rng)
    for block in np.split(values, sorted(cuts)):
        stream.add(block)
    close(stream.result(), expected(values))
    assert stream.n == n


def test_percentiles_of_long_float_data_are_within_the_stated_accuracy():
    values = np.random.default_rng(1).gamma(2.0, 50.0, 6_000_000).astype(np.float32)
    stream = normalise.StatsStream(np.float32, np.random.default_rng(2))
    for block in np.array_split(values, 7):
        stream.add(block)
    got = stream.result()
    assert np.mean(values < got.percentile_00_5) == pytest.approx(0.005, abs=4e-4)
    assert np.mean(values < got.percentile_99_5) == pytest.approx(0.995, abs=4e-4)
    assert got.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-9)
    assert got.std == pytest.approx(values.std(dtype=np.float64), rel=1e-9)


def test_what_is_not_finite_is_counted_and_left_out():
    values = np.array([1.0, np.nan, 2.0, np.inf, -np.inf, np.nan, 3.0], np.float32)
    stream = normalise.StatsStream(np.float32, np.random.default_rng(0))
    stream.add(values)
    assert (stream.n, stream.n_nan, stream.n_infinite) == (3, 2, 2)
    assert stream.result().mean == 2.0
    empty = normalise.StatsStream(np.float32, np.random.default_rng(0))
    empty.add(np.full(3, np.nan, np.float32))
    with pytest.raises(ValueError, match="no finite voxel"):
        empty.result()


def test_wrong_dtypes_are_refused():
    with pytest.raises(ValueError, match="real numbers"):
        normalise.StatsStream(np.complex64, np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected uint8"):
        normalise.StatsStream(np.uint8, np.random.default_rng(0)).add(np.zeros(3, np.uint16))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_a_patch_is_normalised_like_its_volume(dtype):
    rng = np.random.default_rng(3)
    image = rng.normal(100, 20, (2, 4, 9, 8)).clip(0, 255).astype(dtype)
    stats = normalise.measure(image, rng)
    whole = normalise.fixed(image, stats)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(normalise.fixed(image[:, 1:3, 2:5, 3:], stats), whole[:, 1:3, 2:5, 3:])
    for channel, source, s in zip(whole, image.astype(np.float64), stats, strict=True):
        want = (source.clip(s.percentile_00_5, s.percentile_99_5) - s.mean) / s.std
        np.testing.assert_allclose(channel, want, atol=1e-5)


def test_a_large_offset_keeps_its_contrast():
    image = (2**30 + np.arange(24)).astype(np.int32).reshape(1, 2, 3, 4)
    out = normalise.fixed(image, normalise.measure(image, np.random.default_rng(0)))
    assert len(np.unique(out)) >= 22


def test_a_constant_channel_becomes_zero_and_channels_must_fit():
    image = np.full((1, 2, 3, 4), 7, np.uint8)
    stats = normalise.measure(image, np.random.default_rng(0))
    assert not normalise.fixed(image, stats).any()
    with pytest.raises(ValueError, match="channel statistics"):
        normalise.fixed(np.zeros((2, 2, 3, 4)), stats)
