"""The first look at a volume: planted defects are named, an ordinary volume is not blamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from alcore.arrays.drift import LEAST_BEFORE, drift
from alcore.volumes import open_volume, sweep

Image = np.ndarray[Any, Any]


@pytest.fixture
def image() -> Image:
    """(Z, Y, X) uint16 with texture, as a focused microscope gives."""
    noise = np.random.default_rng(0).normal(0, 1, (40, 96, 128))
    texture = ndimage.gaussian_filter(noise, (1, 1, 1))
    return np.asarray(2000 + 300 * texture / texture.std(), np.uint16)


def looked_at(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch, block_bytes: int = 32 << 20
) -> dict[str, Any]:
    monkeypatch.setattr(sweep, "BLOCK_BYTES", block_bytes)
    tifffile.imwrite(tmp_path / "v.tif", image, photometric="minisblack", metadata={"axes": "ZYX"})
    with open_volume(tmp_path / "v.tif") as volume:
        return sweep.sweep(tmp_path / "v.tif", volume, np.random.default_rng(0)).quality


@pytest.mark.parametrize("block_bytes", [5000, 100_000, 32 << 20])
def test_planted_defects(tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    image[5] = 1234
    image[12] = image[13] = image[11]
    image[20:24] = ndimage.gaussian_filter(image[20:24].astype(float), (0, 4, 4)).astype(np.uint16)
    image[:, 1:4] = 4095
    image = np.minimum(image, 4095)
    found = looked_at(tmp_path, image, monkeypatch, block_bytes)
    assert found["blank"] == [5]  # seen in the rows that are sampled
    assert found["repeated"] == [12, 13]
    assert set(found["unsharp"]) >= {21, 22}
    assert set(found["unsharp"]) <= {20, 21, 22, 23, 5}
    assert found["saturated"] == [pytest.approx(3 / 96, abs=1e-4)]
    assert found["warnings"][0] == "3.1% of the voxels are saturated (value 4095)"
    assert "slices 12 to 13 of 40 repeat the slice before" in found["warnings"]


def test_blank_slices(tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    image[5], image[6], image[30] = 1, 1, 9
    found = looked_at(tmp_path, image, monkeypatch)
    assert (found["blank"], found["repeated"]) == ([5, 6, 30], [])
    assert found["warnings"] == ["slices 5 to 6, 30 of 40 are blank"]


def test_slices_that_differ_between_the_sampled_rows_do_not_repeat(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    image[12] = image[11]
    image[12, 7, 3] += 1
    assert looked_at(tmp_path, image, monkeypatch)["repeated"] == []


@pytest.mark.parametrize(
    "name", ["sbem_mito_z010-039", "ovule_nuclei_1135", "ovule_cells", "mouse_embryo_8cell", "fib_gala_train"]
)
def test_real_volumes_are_not_blamed(
    tmp_path: Path, real_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = looked_at(tmp_path, tifffile.imread(real_data(name) / "image.tif"), monkeypatch)
    assert not [w for w in found["warnings"] if "saturated" not in w], found["warnings"]


def record(mean: float, sharpness: float = 1.0) -> dict[str, Any]:
    return {"mean": [mean], "percentile_00_5": [mean - 50], "percentile_99_5": [mean + 50], "sharpness": sharpness}


def test_drift_needs_earlier_volumes_and_a_real_difference() -> None:
    before = [record(100 + d) for d in (0, 1, -1, 2, -2, 0, 1)]
    assert drift(record(150), before[: LEAST_BEFORE - 1]) == []
    assert drift(record(110), before) == []
    assert "mean intensity 150, usually about 100" in drift(record(150), before)[0]
    assert "out of focus" in drift(record(100, sharpness=0.2), before)[0]
    assert drift(record(100, sharpness=3.0), before) == []
    assert drift(record(100) | {"sharpness": None}, before) == []
