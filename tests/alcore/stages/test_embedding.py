"""Stage embedding: one unit row per patch, the same every time, with no more memory for a larger volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from alcore.arrays import normalise
from alcore.arrays.tiling import tile
from alcore.artifact import ArtifactStore
from alcore.encoder.design import Design
from alcore.encoder.embed import Embedder
from alcore.encoder.mae import Encoder
from alcore.encoder.standardise import Standardisation
from alcore.encoder.vit import ViTFeatures
from alcore.errors import PermanentError, Preempted
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import VolumeInfo

Array = np.ndarray[Any, Any]


def encoder_at(folder: Path, channels: int = 1) -> Input:
    """An untrained encoder in a folder of its own."""
    folder.mkdir()
    torch.manual_seed(0)
    features = ViTFeatures(Encoder(Design.of("micro", channels, 8, 32)), "cpu")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, channels, 32, 32)).astype(np.float32).cumsum(axis=2) / 4
    Embedder(features, Standardisation.measured(features, images, rng)).save(folder, {})
    return Input(folder, f"encoder-{channels}")


def volume_at(folder: Path, image: Array, patch: tuple[int, int, int]) -> tuple[Input, Input]:
    """(volume artifact, source) of a (Z, Y, X) image."""
    folder.mkdir()
    path = folder / "image.tif"
    tifffile.imwrite(path, image, compression="zlib", photometric="minisblack", metadata={"axes": "ZYX"})
    stats = normalise.measure(image[None], np.random.default_rng(0))
    info = VolumeInfo("0" * 64, (1, *image.shape), image.dtype.name, None, "unknown", stats)
    (folder / "info.json").write_text(json.dumps(info.to_json()))
    (folder / "patches.json").write_text(json.dumps([b.to_json() for b in tile(image.shape, patch)]))
    return Input(folder, "volume-1"), Input(path, "sha256:1")


def embed(
    tmp_path: Path,
    encoder: Input,
    volume: Input,
    source: Input,
    ctx: QuietContext | None = None,
    flat: list[int] | None = None,
) -> Array:
    store = ArtifactStore(tmp_path / "artifacts")
    inputs = {"encoder": [encoder], "volume": [volume], "source": [source]}
    made = execute("embedding", inputs, {"read": {"axes": "ZYX"}}, store, ctx or QuietContext(tmp_path, tmp_path))
    rows: Array = np.load(store.path(made.key) / "embeddings.npy")
    assert made.result == {"n": len(rows), "dim": rows.shape[1], "flat": flat or []}
    return rows


def texture(shape: tuple[int, int, int], seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).integers(0, 256, shape)
    return ((noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) // 3).astype(np.uint8)


def test_rows_are_the_patches_in_order(tmp_path: Path) -> None:
    """A patch cut out and embedded as a volume of its own, with the whole volume's statistics, gives the same row."""
    image = texture((12, 70, 100))
    encoder = encoder_at(tmp_path / "encoder")
    volume, source = volume_at(tmp_path / "whole", image, (6, 35, 33))
    rows = embed(tmp_path, encoder, volume, source)
    assert rows.dtype == np.float32
    assert rows.shape == (12, 96)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    whole = json.loads((volume.path / "info.json").read_text())
    for row in (0, 4, 11):
        box = tile((12, 70, 100), (6, 35, 33))[row]
        alone, cut = volume_at(tmp_path / f"patch{row}", image[box.slices], box.shape)
        info = json.loads((alone.path / "info.json").read_text())
        (alone.path / "info.json").write_text(json.dumps({**info, "stats": whole["stats"]}))
        (one_row,) = embed(tmp_path / f"patch{row}", encoder, alone, cut)
        np.testing.assert_allclose(one_row, rows[row], atol=1e-4)


def test_made_twice_it_is_the_same_file(tmp_path: Path) -> None:
    encoder = encoder_at(tmp_path / "encoder")
    volume, source = volume_at(tmp_path / "v", texture((1, 64, 64)), (8, 32, 32))
    first = embed(tmp_path / "a", encoder, volume, source)
    np.testing.assert_array_equal(first, embed(tmp_path / "b", encoder, volume, source))


def test_empty_patches_are_listed(tmp_path: Path) -> None:
    """They do not fail their volume: they have a vector, and suggestions know which they are."""
    image = texture((6, 64, 96))
    image[:, 32:, 64:] = 7
    encoder = encoder_at(tmp_path / "encoder")
    volume, source = volume_at(tmp_path / "v", image, (6, 32, 32))
    rows = embed(tmp_path, encoder, volume, source, flat=[5])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_progress_and_stop(tmp_path: Path) -> None:
    class Stops(QuietContext):
        def should_stop(self) -> bool:
            return bool(self.notes)

    encoder = encoder_at(tmp_path / "encoder")
    volume, source = volume_at(tmp_path / "v", texture((16, 64, 160)), (8, 32, 32))
    with pytest.raises(Preempted, match="64 of 160 slices"):
        embed(tmp_path, encoder, volume, source, Stops(tmp_path, tmp_path))
    ctx = QuietContext(tmp_path, tmp_path)
    embed(tmp_path, encoder, volume, source, ctx)
    assert [note for _, note in ctx.notes] == [f"{n} of 160 slices" for n in (64, 128, 160)]
    assert ctx.notes[-1][0] == 1.0


def test_another_number_of_channels(tmp_path: Path) -> None:
    encoder = encoder_at(tmp_path / "encoder", channels=2)
    volume, source = volume_at(tmp_path / "v", texture((4, 64, 64)), (4, 32, 32))
    with pytest.raises(PermanentError, match="has 1 channels, the encoder was trained on 2"):
        embed(tmp_path, encoder, volume, source)
