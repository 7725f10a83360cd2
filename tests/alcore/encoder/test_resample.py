"""Resampling against block means and torch's own bilinear interpolation."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController

from alcore.encoder.resample import resample, weights


@given(st.integers(1, 90), st.integers(1, 90))
def test_every_new_pixel_is_a_weighted_mean(n_in: int, n_out: int) -> None:
    matrix = weights(n_in, n_out)
    assert matrix.shape == (n_out, n_in)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)


@given(st.integers(1, 40), st.integers(1, 90))
def test_shrinking_keeps_the_mean(n_out: int, more: int) -> None:
    """Area weights: every old pixel counts the same, whatever the ratio."""
    matrix = weights(n_out + more, n_out)
    np.testing.assert_allclose(matrix.sum(axis=0), n_out / (n_out + more), rtol=1e-4)


def test_shrinking_by_a_whole_factor_is_the_block_mean() -> None:
    image = np.random.default_rng(0).normal(size=(2, 24, 36)).astype(np.float32)
    expected = image.reshape(2, 8, 3, 9, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(resample(image, 8, 9), expected, atol=1e-6)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 30), st.integers(0, 30))
def test_growing_is_bilinear(h: int, w: int, more_h: int, more_w: int) -> None:
    image = np.random.default_rng(h * 100 + w).normal(size=(1, h, w)).astype(np.float32)
    size = (h + more_h, w + more_w)
    expected = torch.nn.functional.interpolate(torch.from_numpy(image)[None], size=size, mode="bilinear")[0].numpy()
    np.testing.assert_allclose(resample(image, *size), expected, atol=1e-5)


def test_the_same_bits_whatever_the_threads() -> None:
    """Sums of two threads are rounded otherwise than those of one: an embedding would depend on who computed it."""
    image = np.random.default_rng(0).normal(size=(1, 512, 512)).astype(np.float32)
    blas = ThreadpoolController().select(user_api="blas")
    found = []
    for threads in (1, 2):
        with blas.limit(limits=threads):
            found.append(resample(image, 128, 128))
            assert {library["num_threads"] for library in blas.info()} == {threads}  # left as it was
    np.testing.assert_array_equal(*found)
