"""The gate lets a sound encoder pass, and stops the authors' feature and every way of collapsing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from alcore.encoder import nuisance, selftest
from alcore.encoder.descriptor import Descriptor
from alcore.encoder.design import Design
from alcore.encoder.embed import Embedder
from alcore.encoder.mae import Encoder
from alcore.encoder.slices import random_crops
from alcore.encoder.standardise import Standardisation
from alcore.encoder.vit import ViTFeatures, pooled

Array = np.ndarray[Any, Any]
PX = 64


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(Design.of("micro", 1, 8, PX)).eval()


def standardised(encoder: Encoder, images: Array) -> Standardisation:
    return Standardisation.measured(ViTFeatures(encoder, "cpu"), images, np.random.default_rng(0))


def unit(features: Array) -> Array:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["vit", "descriptor"])
def test_our_embedding_passes(encoder: Encoder, textured: Callable[..., Array], kind: str) -> None:
    features = ViTFeatures(encoder, "cpu") if kind == "vit" else Descriptor(1, PX)
    s = Standardisation.measured(features, textured(64, PX, seed=1), np.random.default_rng(0))
    tested = selftest.measure(Embedder(features, s).images, textured(40, PX), np.random.default_rng(0))
    assert tested.failures == []
    assert tested.n_queries == tested.n_slices == 40
    assert tested.self_retrieval >= 0.95
    assert tested.flip == 1.0


@pytest.mark.parametrize("augmented", [True, False], ids=["as written", "without crop and flip"])
def test_the_authors_feature_fails(encoder: Encoder, textured: Callable[..., Array], augmented: bool) -> None:
    """Their script crops and mirrors at random, masks with ratio 0, which still shuffles the tokens, and flattens them."""
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)

    def shuffled_and_flat(images: Array) -> Array:
        if augmented:
            images = random_crops(np.pad(images, ((0, 0), (0, 0), (8, 8), (8, 8)), mode="symmetric"), PX, rng)
        order = torch.rand((len(images), 64), generator=generator).argsort(dim=1)
        with torch.inference_mode():
            tokens = encoder(torch.from_numpy(images), order)
        return unit(tokens.flatten(1).numpy())

    tested = selftest.measure(shuffled_and_flat, textured(40, PX), np.random.default_rng(0))
    assert tested.self_retrieval < 0.5
    assert any("self-retrieval" in f for f in tested.failures)
    assert any("another order" in f for f in tested.failures)


def test_one_vector_for_everything_fails(textured: Callable[..., Array]) -> None:
    tested = selftest.measure(
        lambda images: np.full((len(images), 8), 8**-0.5, np.float32), textured(40, PX), np.random.default_rng(0)
    )
    assert len(tested.failures) == 3
    assert tested.effective_rank == pytest.approx(1.0)
    assert tested.mean_cosine == pytest.approx(1.0)
    assert tested.order_difference == 0.0


def test_weights_of_zero_fail(encoder: Encoder, textured: Callable[..., Array]) -> None:
    """Constant features leave only rounding noise to standardise, or nothing at all: no direction, or one for everything."""
    torch.nn.init.zeros_(encoder.embed.weight)
    embedder = Embedder(ViTFeatures(encoder, "cpu"), standardised(encoder, textured(64, PX, seed=1) * 0.5))
    s = embedder.standardisation
    assert not s.has_direction(np.stack([s.mean, np.full_like(s.mean, np.nan)])).any()
    np.testing.assert_array_equal(s.unit(s.mean[None])[0], s.nowhere)
    assert np.linalg.norm(s.nowhere) == pytest.approx(1)
    tested = selftest.measure(embedder.images, textured(40, PX), np.random.default_rng(0))
    assert any("collapse" in f for f in tested.failures)
    assert any("self-retrieval" in f for f in tested.failures)


def test_brightness_alone_is_not_enough(textured: Callable[..., Array]) -> None:
    """Two numbers of a slice know it again only while nothing changes: low rank, and gain breaks it."""
    tested = selftest.measure(
        lambda images: unit(np.stack([images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))], axis=1)),
        textured(40, PX),
        np.random.default_rng(0),
    )
    assert tested.effective_rank < selftest.MIN_EFFECTIVE_RANK
    assert tested.failures


def test_blank_and_equal_slices_are_not_asked(textured: Callable[..., Array]) -> None:
    images = textured(20, PX)
    blank = 0.05 * np.random.default_rng(0).normal(size=(10, 1, PX, PX)).astype(np.float32)
    tested = selftest.measure(
        lambda i: unit(i.reshape(len(i), -1)), np.concatenate([images, images[:7], blank]), np.random.default_rng(0)
    )
    assert (tested.n_slices, tested.n_queries) == (30, 20)


def test_too_little_to_test_on(textured: Callable[..., Array]) -> None:
    tested = selftest.measure(lambda i: unit(i.reshape(len(i), -1)), textured(5, PX), np.random.default_rng(0))
    assert tested.failures == ["only 5 different slices with contrast to test on, at least 8 are needed"]
    assert tested.to_json()["failures"] == tested.failures


def test_effective_rank_of_known_spectra() -> None:
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(50, 6)) - 0)[0]
    left -= left.mean(axis=0)
    left = np.linalg.qr(left)[0]
    right = np.linalg.qr(rng.normal(size=(12, 6)))[0]
    assert selftest.effective_rank(left @ right.T) == pytest.approx(6)
    assert selftest.effective_rank((left * [1, 1, 1, 0, 0, 0]) @ right.T) == pytest.approx(3)


def test_gain_and_noise_directions_are_projected_out(encoder: Encoder, textured: Callable[..., Array]) -> None:
    """Without the projection a small gain moves an embedding several times farther."""
    images = textured(40, PX)
    ours = standardised(encoder, textured(64, PX, seed=1))
    bare = Standardisation(ours.mean, ours.std, np.zeros_like(ours.nuisance))
    clean = pooled(encoder, images, "cpu")
    changed = pooled(encoder, images * nuisance.gain(images, np.random.default_rng(5)), "cpu")

    def moved(s: Standardisation) -> float:
        return float((1 - (s.unit(clean) * s.unit(changed)).sum(axis=1)).mean())

    assert moved(ours) < 0.5 * moved(bare)
    np.testing.assert_allclose(ours.unit(clean) @ ours.nuisance.T, 0, atol=1e-5)
