"""Embeddings: unit vectors that depend on the patch alone, read slice by slice, and survive their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alcore.arrays import normalise
from alcore.encoder.design import Design
from alcore.encoder.embed import DESCRIPTION, WEIGHTS, Embedder, pooled
from alcore.encoder.mae import Encoder
from alcore.encoder.resample import resample
from alcore.encoder.standardise import Standardisation
from alcore.errors import PermanentError
from alcore.types import Box

Array = np.ndarray[Any, Any]


@pytest.fixture
def embedder(textured: Callable[..., Array]) -> Embedder:
    torch.manual_seed(0)
    encoder = Encoder(Design.of("micro", 2, 8, 32))
    images = textured(48, 32, channels=2, seed=7)
    s = Standardisation.measured(lambda i: pooled(encoder, i, "cpu"), images, np.random.default_rng(0))
    return Embedder(encoder, s, "cpu")


@pytest.fixture
def volume(textured: Callable[..., Array]) -> Array:
    """(2, 20, 96, 112) uint16."""
    return (textured(20, 112, channels=2, seed=3)[:, :, :96] * 300 + 3000).transpose(1, 0, 2, 3).astype(np.uint16)


def boxes() -> list[Box]:
    return [Box((z, y, x), (10, 48, 56)) for z in (0, 10) for y in (0, 48) for x in (0, 56)]


def test_mean_over_tokens_mirror_images_and_slices(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    """Against the definition, written out for one patch at a time."""
    stats = normalise.measure(volume, np.random.default_rng(0))
    reader = memory_volume(volume)
    ticks: list[int] = []
    got = embedder.patches(reader, boxes(), stats, ticks.append)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    assert sum(ticks) == 8 * 8
    assert all(b.shape[0] == 1 for b in reader.boxes)
    for row, box in enumerate(boxes()):
        features = []
        for z in (0, 1, 3, 4, 5, 6, 8, 9):
            image = normalise.fixed(volume[(slice(None), *box.slices)][:, z : z + 1], stats)[:, 0]
            small = torch.from_numpy(resample(image, 32, 32))[None]
            with torch.inference_mode():
                features += [embedder.encoder(small.flip(a))[0].mean(dim=0) for a in ((), (2,), (3,), (2, 3))]
        expected = embedder.standardisation.unit(torch.stack(features).mean(dim=0)[None].numpy())[0]
        np.testing.assert_allclose(got[row], expected, atol=1e-4)


def test_neither_order_nor_company_nor_time_matters(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    stats = normalise.measure(volume, np.random.default_rng(0))
    reader = memory_volume(volume)
    first = embedder.patches(reader, boxes(), stats, lambda n: None)
    embedder.encoder.train()  # a caller's mistake must not matter
    np.testing.assert_array_equal(first, embedder.patches(reader, boxes(), stats, lambda n: None))
    order = [5, 2, 7, 0]
    some = embedder.patches(reader, [boxes()[i] for i in order], stats, lambda n: None)
    np.testing.assert_allclose(some, first[order], atol=1e-4)


def test_a_mirrored_patch_is_the_same_patch(
    embedder: Embedder, volume: Array, memory_volume: Callable[..., Any]
) -> None:
    stats = normalise.measure(volume, np.random.default_rng(0))
    whole = [Box((0, 0, 0), (20, 96, 112))]
    plain = embedder.patches(memory_volume(volume), whole, stats, lambda n: None)
    for axes in ((2,), (3,), (2, 3)):
        mirrored = embedder.patches(memory_volume(np.flip(volume, axes)), whole, stats, lambda n: None)
        np.testing.assert_allclose(mirrored, plain, atol=1e-3)


def test_file_round_trip(embedder: Embedder, textured: Callable[..., Array], tmp_path: Path) -> None:
    images = textured(5, 32, channels=2)
    embedder.save(tmp_path, {"training": {"seed": 1}})
    loaded = Embedder.load(tmp_path, "cpu")
    assert loaded.design == embedder.design
    np.testing.assert_array_equal(loaded.images(images), embedder.images(images))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other size", "no json"])
def test_a_damaged_file_is_named(embedder: Embedder, tmp_path: Path, damage: str) -> None:
    embedder.save(tmp_path, {})
    weights, description = tmp_path / WEIGHTS, tmp_path / DESCRIPTION
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other size":
        description.write_text(description.read_text().replace('"dim": 96', '"dim": 192'))
    else:
        description.write_text("{")
    with pytest.raises(PermanentError, match=f"{tmp_path}: not a readable encoder"):
        Embedder.load(tmp_path, "cpu")
