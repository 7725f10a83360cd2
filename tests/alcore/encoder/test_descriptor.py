"""The descriptor: orientation-blind, ordered by scale, deterministic, and passing the gate on real volumes of every kind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from alcore.encoder.descriptor import FILTERS, GREYS, LEVELS, QUANTILES, Descriptor
from alcore.run import QuietContext, stage
from alcore.stage import Input

Array = np.ndarray[Any, Any]


@settings(max_examples=12, deadline=None)
@given(st.integers(8, 70), st.integers(1, 3), st.integers(1, 20))
def test_dim_and_turns(px: int, channels: int, n: int) -> None:
    """The eight turned and mirrored images have the same features; neither company nor order matters."""
    images = np.random.default_rng(px).normal(size=(n, channels, px, px)).astype(np.float32)
    describe = Descriptor(channels, px)
    features = describe(images)
    assert features.shape == (n, describe.dim)
    assert features.dtype == np.float32
    for turned in (images[..., ::-1], images[..., ::-1, :], images.swapaxes(2, 3), np.rot90(images, axes=(2, 3))):
        np.testing.assert_allclose(describe(np.ascontiguousarray(turned)), features, atol=2e-4)
    np.testing.assert_array_equal(describe(images[::-1])[::-1], features)
    np.testing.assert_array_equal(describe(images[:1]), features[:1])


def test_the_first_numbers_are_the_greys() -> None:
    """Of an image with two halves, each pixel far from the border between them counts at its own grey."""
    image = np.full((1, 1, 64, 64), -1.25, np.float32)
    image[..., 32:] = 1.0
    found = dict(zip(GREYS, Descriptor(1, 64)(image)[0, : len(GREYS)], strict=True))
    assert found[1.0] == pytest.approx(0.5, abs=0.05)
    assert found[-1.5] == pytest.approx(0.25, abs=0.03)
    assert found[-1.0] == pytest.approx(0.25, abs=0.03)
    assert found[2.0] == 0


def test_responses_against_their_formulas() -> None:
    """Gradient magnitude and Laplacian of the first octave, against scipy's own filters."""
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    block = Descriptor(1, 64)(image[None, None])[0, len(GREYS) :].reshape(-1)[: FILTERS * len(QUANTILES)]
    gradient = ndimage.gaussian_gradient_magnitude(image, 1.0, truncate=3.0)
    laplace = ndimage.gaussian_laplace(image, 1.0, truncate=3.0)
    for got, truth in ((block[:5], gradient), (block[5:10], laplace)):
        np.testing.assert_allclose(got, np.quantile(truth, QUANTILES, method="nearest"), atol=2e-3)


def test_each_scale_answers_on_its_octave() -> None:
    """Stripes twice as wide move the strongest gradients one octave on."""
    y = np.arange(128)

    def octave(period: float) -> int:
        stripes = np.sin(2 * np.pi * y / period)[None, None, :, None] * np.ones((1, 1, 1, 128))
        per_octave = Descriptor(1, 128)(stripes.astype(np.float32))[0].reshape(LEVELS, -1)
        return int(per_octave[:, len(GREYS) + 2].argmax())  # median gradient magnitude

    assert [octave(6.0 * 2**k) for k in range(LEVELS)] == [0, 1, 2, 3]


SETS = {
    "sbem_mito_z010-039": (30, 128, 128),
    "ovule_nuclei_1135": (20, 32, 32),
    "ovule_cells": (16, 32, 32),
    "mouse_embryo_8cell": (17, 40, 40),
    "fib_gala_train": (10, 40, 40),
}


@pytest.mark.parametrize("name", SETS)
def test_it_passes_the_gate_on_real_volumes(name: str, tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    """Electron microscopes and confocal ones; recall under noise, gain and mirroring at once is at least 0.99."""
    image = real_data(name) / "image.tif"
    source = Input(image, f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}")
    params = {
        "read": {},
        "voxel_um": [1.0, 1.0, 1.0],
        "patch": {"shape_px": list(SETS[name])},
        "fingerprint": None,
        "limit_gb": 1.0,
    }
    volume, made = tmp_path / "volume", tmp_path / "encoder"
    for folder in (volume, made, tmp_path / "scratch"):
        folder.mkdir()
    ctx = QuietContext(tmp_path / "scratch", tmp_path)
    stage("volume").run({"source": [source]}, params, volume, ctx)
    inputs = {"volume": [Input(volume, "volume-1")], "source": [source]}
    result = stage("encoder").run(
        inputs, {"kind": "descriptor", "image_px": 64, "max_slices": 256, "seed": 0, "read": [{}]}, made, ctx
    )
    assert {f.name for f in made.iterdir()} == {"encoder.json", "selftest.json"}
    assert result["kind"] == "descriptor"
    assert result["selftest"]["failures"] == []
    assert result["selftest"]["self_retrieval"] >= 0.99
    assert result["selftest"]["effective_rank"] > 10
