"""Embeddings: unit vectors that depend on the patch alone, read slice by slice, and survive their file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alcore.arrays import normalise
from alcore.encoder.descriptor import Descriptor
from alcore.encoder.design import Design
from alcore.encoder.embed import DESCRIPTION, Embedder, warm
from alcore.encoder.mae import Encoder
from alcore.encoder.resample import resample
from alcore.encoder.standardise import Standardisation
from alcore.encoder.vit import WEIGHTS, ViTFeatures
from alcore.errors import PermanentError
from alcore.types import Box

Array = np.ndarray[Any, Any]


@pytest.fixture
def vit(textured: Callable[..., Array]) -> Embedder:
    torch.manual_seed(0)
    features = ViTFeatures(Encoder(Design.of("micro", 2, 8, 32)), "cpu")
    images = textured(48, 32, channels=2, seed=7)
    return Embedder(features, Standardisation.measured(features, images, np.random.default_rng(0)))


@pytest.fixture(params=["vit", "descriptor", "descriptor, mean_std"])
def embedder(request: pytest.FixtureRequest, vit: Embedder, textured: Callable[..., Array]) -> Embedder:
    """Every kind: what is true of one must be true of the others."""
    if request.param == "vit":
        return vit
    features = Descriptor(2, 32)
    images = textured(48, 32, channels=2, seed=7)
    s = Standardisation.measured(features, images, np.random.default_rng(0))
    if request.param == "descriptor":
        return Embedder(features, s)
    spreads = np.stack([features(images[i : i + 8]).std(axis=0) for i in range(0, 48, 8)])
    return Embedder(features, s.with_spread(spreads), "mean_std")


@pytest.fixture
def volume(textured: Callable[..., Array]) -> Array:
    """(2, 20, 96, 112) uint16."""
    return (textured(20, 112, channels=2, seed=3)[:, :, :96] * 300 + 3000).transpose(1, 0, 2, 3).astype(np.uint16)


def boxes() -> list[Box]:
    return [Box((z, y, x), (10, 48, 56)) for z in (0, 10) for y in (0, 48) for x in (0, 56)]


def test_mean_over_tokens_mirror_images_and_slices(
    vit: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    """Against the definition, written out for one patch at a time."""
    stats = normalise.measure(volume, np.random.default_rng(0))
    reader = memory_volume(volume)
    ticks: list[int] = []
    got = vit.patches(reader, boxes(), stats, ticks.append)
    assert got.flat == []
    assert got.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got.vectors, axis=1), 1, atol=1e-6)
    assert sum(ticks) == 8 * 8
    assert all(b.shape[0] == 1 for b in reader.boxes)
    assert isinstance(vit.features, ViTFeatures)
    for row, box in enumerate(boxes()):
        features = []
        for image in slices_of(volume, box, stats):
            with torch.inference_mode():
                views = [torch.from_numpy(image)[None].flip(a) for a in ((), (2,), (3,), (2, 3))]
                features += [vit.features.encoder(view)[0].mean(dim=0) for view in views]
        expected = vit.standardisation.unit(torch.stack(features).mean(dim=0)[None].numpy())[0]
        np.testing.assert_allclose(got.vectors[row], expected, atol=1e-4)


def slices_of(volume: Array, box: Box, stats: Any) -> list[Array]:
    """The eight slices of a ten-slice patch that are embedded, normalised, at working size."""
    cut = normalise.fixed(volume[(slice(None), *box.slices)], stats)
    return [resample(cut[:, z], 32, 32) for z in (0, 1, 3, 4, 5, 6, 8, 9)]


def test_mean_and_spread_over_slices(
    textured: Callable[..., Array], volume: Array, memory_volume: Callable[..., Any]
) -> None:
    """The second half of a vector says how much the slices differ: z-scores of numpy's own standard deviation."""
    features = Descriptor(2, 32)
    s = Standardisation.measured(features, textured(48, 32, channels=2, seed=7), np.random.default_rng(0))
    spreads = np.abs(np.random.default_rng(1).normal(1, 0.3, (9, features.dim)))
    embedder = Embedder(features, s.with_spread(spreads), "mean_std")
    stats = normalise.measure(volume, np.random.default_rng(0))
    vectors = embedder.patches(memory_volume(volume), boxes(), stats, lambda n: None).vectors
    assert vectors.shape == (8, embedder.dim) == (8, 2 * features.dim)
    for row in (0, 5):
        found = features(np.stack(slices_of(volume, boxes()[row], stats))).astype(np.float64)
        z = (found.std(axis=0) - spreads.mean(axis=0)) / np.maximum(
            spreads.std(axis=0), 0.01 * np.sqrt((spreads.std(axis=0) ** 2).mean())
        )
        plain = (found.mean(axis=0) - s.mean) / s.std
        plain -= plain @ s.nuisance.T @ s.nuisance
        whole = np.concatenate([plain, z])
        np.testing.assert_allclose(vectors[row], whole / np.linalg.norm(whole), atol=1e-4)
    one_slice = [Box((4, 0, 0), (1, 96, 112))]
    alone = embedder.patches(memory_volume(volume), one_slice, stats, lambda n: None).vectors[0]
    np.testing.assert_array_equal(alone[features.dim :], 0)


def test_neither_order_nor_company_nor_time_matters(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    stats = normalise.measure(volume, np.random.default_rng(0))
    reader = memory_volume(volume)

    def vectors(some: list[Box]) -> Array:
        return embedder.patches(reader, some, stats, lambda n: None).vectors

    first = vectors(boxes())
    if isinstance(embedder.features, ViTFeatures):
        embedder.features.encoder.train()  # a caller's mistake must not matter
    np.testing.assert_array_equal(first, vectors(boxes()))
    order = [5, 2, 7, 0]
    np.testing.assert_allclose(vectors([boxes()[i] for i in order]), first[order], atol=1e-4)


def test_a_mirrored_patch_is_the_same_patch(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    stats = normalise.measure(volume, np.random.default_rng(0))
    whole = [Box((0, 0, 0), (20, 96, 112))]
    plain = embedder.patches(memory_volume(volume), whole, stats, lambda n: None).vectors
    for axes in ((2,), (3,), (2, 3)):
        mirrored = embedder.patches(memory_volume(np.flip(volume, axes)), whole, stats, lambda n: None)
        np.testing.assert_allclose(mirrored.vectors, plain, atol=1e-3)


def test_flat_patches_have_a_vector_and_are_named(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    """Empty, or without a single number: no patch keeps its volume from being embedded."""
    wide = volume.astype(np.float32)
    stats = normalise.measure(wide, np.random.default_rng(0))
    plain = embedder.patches(memory_volume(wide), boxes(), stats, lambda n: None)
    wide[(slice(None), *boxes()[2].slices)] = 3000.0
    wide[(slice(None), *boxes()[5].slices)] = np.nan
    wide[1, 3, 0, 0] = np.nan  # one voxel of patch 0, which stays itself
    got = embedder.patches(memory_volume(wide), boxes(), stats, lambda n: None)
    assert got.flat == [2, 5]
    np.testing.assert_array_equal(got.vectors[2], got.vectors[5])
    np.testing.assert_allclose(np.linalg.norm(got.vectors, axis=1), 1, atol=1e-6)
    others = [1, 3, 4, 6, 7]
    np.testing.assert_allclose(got.vectors[others], plain.vectors[others], atol=1e-4)
    similar = plain.vectors @ got.vectors[0]
    assert similar[0] > 0.9 and similar.argmax() == 0


def test_file_round_trip(embedder: Embedder, textured: Callable[..., Array], tmp_path: Path) -> None:
    images = textured(5, 32, channels=2)
    embedder.save(tmp_path, {"training": {"seed": 1}})
    loaded = Embedder.load(tmp_path, "cpu")
    assert loaded.features.to_json() == embedder.features.to_json()
    assert loaded.pooling == embedder.pooling
    np.testing.assert_array_equal(loaded.images(images), embedder.images(images))


def test_an_encoder_is_read_once(vit: Embedder, tmp_path: Path) -> None:
    """For all volumes that a process embeds; another artifact, or another device, is another encoder."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
        vit.save(folder, {})
    first = warm(folders[0], "a", "cpu")
    (folders[0] / WEIGHTS).unlink()  # artifacts never change: nobody looks again
    assert warm(folders[0], "a", "cpu") is first
    assert warm(folders[1], "b", "cpu") is not first
    assert warm(folders[0], "a", "cpu") is first
    warm(folders[2], "c", "cpu")
    with pytest.raises(PermanentError, match="not a readable encoder"):
        warm(folders[0], "another key", "cpu")


def test_an_encoder_made_before_there_were_kinds(vit: Embedder, textured: Callable[..., Array], tmp_path: Path) -> None:
    vit.save(tmp_path, {})
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    for name in ("kind", "pooling"):
        del description[name]
    del description["design"]["table_grid"]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    images = textured(3, 32, channels=2)
    np.testing.assert_array_equal(Embedder.load(tmp_path, "cpu").images(images), vit.images(images))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 0}, "made by version 0 of the descriptor"),
        ({"image_px": 7}, "its standardisation has"),
    ],
)
def test_a_descriptor_that_was_another(
    textured: Callable[..., Array], tmp_path: Path, change: dict[str, int], said: str
) -> None:
    features = Descriptor(1, 32)
    Embedder(features, Standardisation.measured(features, textured(9, 32), np.random.default_rng(0))).save(tmp_path, {})
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    description["design"] |= change
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(PermanentError, match=said):
        Embedder.load(tmp_path, "cpu")


@pytest.mark.parametrize("damage", ["missing", "truncated", "other size", "other kind", "no json"])
def test_a_damaged_file_is_named(vit: Embedder, tmp_path: Path, damage: str) -> None:
    vit.save(tmp_path, {})
    weights, description = tmp_path / WEIGHTS, tmp_path / DESCRIPTION
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other size":
        description.write_text(description.read_text().replace('"dim": 96', '"dim": 192'))
    elif damage == "other kind":
        description.write_text(description.read_text().replace('"kind": "mae"', '"kind": "oracle"'))
    else:
        description.write_text("{")
    with pytest.raises(PermanentError, match=f"{tmp_path}: not a readable encoder"):
        Embedder.load(tmp_path, "cpu")
