"""Filters of the fast learner: eigenvalues against LAPACK, and what must not change with the way an image is held."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.fastlearner.filters import PER_SIGMA, eigenvalues, features


def _image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_eigenvalues_are_those_of_lapack() -> None:
    rng = np.random.default_rng(3)
    a, d, f, b, e, c = rng.normal(size=(6, 500)).astype(np.float32)
    d[:50] = f[:50] = e[:50] = 0  # diagonal
    a[:10] = b[:10] = c[:10] = 2.5  # all eigenvalues equal
    matrix = np.array([[a, d, f], [d, b, e], [f, e, c]]).transpose(2, 0, 1).astype(np.float64)
    expected = np.linalg.eigvalsh(matrix)[:, ::-1]
    np.testing.assert_allclose(np.stack(eigenvalues([a, d, f, b, e, c]), 1), expected, atol=2e-3)


def test_one_row_per_value_and_nine_per_scale() -> None:
    found = features(_image((2, 4, 20, 24)), (1, 1, 1), sigmas=(1.0, 2.0))
    assert found.shape == (2 * (1 + 2 * PER_SIGMA), 4, 20, 24)
    assert found.dtype == np.float32 and np.isfinite(found).all()


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (2, 3)])
def test_a_mirrored_image_has_mirrored_features(axes: tuple[int, ...]) -> None:
    image = _image((1, 6, 20, 20))
    np.testing.assert_allclose(
        features(np.flip(image, axes), (3, 1, 1)), np.flip(features(image, (3, 1, 1)), axes), atol=1e-4
    )


def test_a_turned_image_has_turned_features() -> None:
    image = _image((1, 5, 20, 20))
    turned = np.rot90(image, axes=(2, 3))
    np.testing.assert_allclose(
        features(turned, (2, 1, 1)), np.rot90(features(image, (2, 1, 1)), axes=(2, 3)), atol=1e-4
    )


def test_a_scale_is_a_length_along_every_axis() -> None:
    """A wave across slices 4 voxels apart is filtered like the same wave in the plane, seen every fourth voxel."""
    x = np.arange(160)
    wave = np.sin(2 * np.pi * x / 40).astype(np.float32)
    in_plane = np.broadcast_to(wave[None, None, None, :], (1, 8, 40, 160))
    across = np.broadcast_to(wave[None, ::4, None, None], (1, 40, 16, 16))
    sigmas = (4.0,)
    flat = features(np.ascontiguousarray(in_plane), (1, 1, 1), sigmas)[:, 4, 20, ::4]
    deep = features(np.ascontiguousarray(across), (4, 1, 1), sigmas)[:, :, 8, 8]
    middle = slice(10, 30)
    np.testing.assert_allclose(deep[1, middle], flat[1, middle], atol=0.03)  # mean
    np.testing.assert_allclose(deep[3, middle], flat[3, middle], atol=0.05)  # gradient


def test_a_single_slice_has_features_of_the_plane() -> None:
    found = features(_image((1, 1, 24, 24)), (1, 1, 1), sigmas=(1.0,))
    assert np.isfinite(found).all()
    assert found[3].max() > 0


def test_a_constant_image_has_no_structure() -> None:
    found = features(np.full((1, 4, 16, 16), 2.0, np.float32), (1, 1, 1), sigmas=(1.0,))
    np.testing.assert_allclose(found[:2], 2, atol=1e-5)
    np.testing.assert_allclose(found[2:], 0, atol=2e-3)
