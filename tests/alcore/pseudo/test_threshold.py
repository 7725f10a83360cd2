"""The threshold backend: options, inference, block independence, flat memory, and real data against Otsu."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.arrays.matching import score
from alcore.arrays.synthetic import em_volume
from alcore.errors import PermanentError
from alcore.pseudo import backend

Image = np.ndarray[Any, Any]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polarityy": "dark"}, "nearest is 'polarity'"),
        ({"polarity": "grey"}, "polarity must be one of 'auto', 'bright', 'dark'"),
        ({"levels": 2.5}, "levels must be a whole number"),
        ({"radius_px": "5"}, "radius_px must be a number"),
        ({"min_diameter_um": 3, "max_diameter_um": 2}, "max_diameter_um must be a number from 3"),
        ({"min_contrast": float("nan")}, "min_contrast"),
        ({"fill": True}, "fill must be one of"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        backend("threshold", options)


def test_a_channel_that_is_not_there(label: Any, phantom: Any) -> None:
    with pytest.raises(PermanentError, match="channel is 3, but the volume has 2"):
        label(np.stack([phantom((9, 40, 40))[0]] * 2), channel=3)


def test_takes_the_channel_with_objects(label: Any, phantom: Any) -> None:
    image, truth = phantom((24, 64, 64))
    noise = np.random.default_rng(1).normal(90, 20, image.shape).astype(np.float32)
    labels, said = label(np.stack([noise, image]))
    assert said.parameters["found"]["channel"] == 1 and score(labels, truth).f1 >= 0.8


@pytest.mark.parametrize("kind", ["white", "few photons"])
def test_noise_is_no_object(kind: str, label: Any) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (24, 96, 96)) if kind == "white" else rng.poisson(3, (24, 96, 96)).astype(np.uint8)
    labels, said = label(image.astype(np.float32))
    assert said.n_objects == 0 and said.notes and not labels.any()


def test_set_options_are_obeyed_and_recorded(label: Any, phantom: Any) -> None:
    dark, truth = phantom((24, 64, 64), bright=False)
    labels, said = label(dark, polarity="dark", radius_px=4)
    assert said.parameters["options"]["polarity"] == said.parameters["found"]["polarity"] == "dark"
    assert said.parameters["found"]["radius_px"] == 4 and score(labels, truth).f1 >= 0.8
    labels, _ = label(dark, polarity="bright", radius_px=4)
    assert not labels[truth > 0].any()


def test_sizes_in_um_exclude_what_is_smaller(label: Any, phantom: Any) -> None:
    image, truth = phantom((24, 96, 96), radius=6)
    labels, _ = label(image, voxel_um=(0.05, 0.05, 0.05))
    assert score(labels, truth).f1 >= 0.8
    labels, said = label(image, voxel_um=(0.05, 0.05, 0.05), min_diameter_um=1.2)
    assert said.n_objects == 0 or score(labels, truth).f1 < 0.3
    labels, said = label(image, voxel_um=(500.0, 500.0, 500.0))  # a calibration that cannot be
    assert score(labels, truth).f1 >= 0.8 and any("limits ignored" in note for note in said.notes)


def test_coarse_slices(label: Any, phantom: Any) -> None:
    image, truth = phantom((60, 96, 96), radius=9)
    labels, _ = label(image[2::5], voxel_um=(0.5, 0.1, 0.1))
    assert score(labels, truth[2::5]).f1 >= 0.8


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_block_size_does_not_matter(
    data: st.DataObject, label: Any, phantom: Callable[..., tuple[Image, Image]]
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 24), st.integers(40, 70), st.integers(40, 70)))
    radius = data.draw(st.sampled_from([2.5, 4.0, 5.5]))
    fill = data.draw(st.sampled_from(["yes", "no"]))
    image, _ = phantom(shape, radius=2 * radius, seed=data.draw(st.integers(0, 99)), n=50)
    options = {"radius_px": radius, "fill": fill, "min_size": 0.5, "polarity": "bright"}
    blocks = data.draw(st.integers(1 << 12, 1 << 16))
    whole, said = label(image, block_voxels=1 << 30, **options)
    cut, again = label(image, block_voxels=blocks, **options)
    assert np.array_equal(whole, cut)
    assert again.confidence == pytest.approx(said.confidence, abs=1e-4)


def test_memory_does_not_grow_with_the_volume(label: Any, phantom: Any) -> None:
    block = np.tile(phantom((32, 96, 96))[0].astype(np.uint8), (1, 2, 2))

    def peak(repeats: int) -> int:
        image = np.broadcast_to(block, (repeats, *block.shape)).reshape(-1, *block.shape[1:])
        tracemalloc.start()
        label(image, radius_px=5, polarity="bright", block_voxels=1 << 17)
        most = tracemalloc.get_traced_memory()[1] - 4 * image.size  # the labels are an array in this test
        tracemalloc.stop()
        return most

    assert peak(6) < 1.3 * peak(3)


def test_organelles_of_synthetic_electron_microscopy(label: Any) -> None:
    voxel = (0.04, 0.008, 0.008)
    image, truth = em_volume((16, 192, 192), voxel, np.random.default_rng(1))
    labels, said = label(image, voxel_um=voxel)
    assert said.parameters["found"]["polarity"] == "dark"
    scores, otsu = score(labels, truth), _otsu(image, dark=True)
    assert scores.f1 > max(score(o, truth).f1 for o in otsu) and scores.f1 > 0.3


@pytest.mark.parametrize(
    ("name", "voxel_um", "crop", "dark", "at_least"),
    [
        ("ovule_nuclei_1135", (0.2837, 0.1268, 0.1268), 100, False, 0.6),
        ("ovule_cells", (0.235, 0.15, 0.15), 128, True, 0.6),
        ("mouse_embryo_8cell", (1.75, 0.8, 0.8), 128, False, 0.8),
        ("sbem_mito_z010-039", (0.04, 0.0059, 0.0059), 512, True, 0.3),
    ],
)
def test_real_data_against_otsu(
    name: str,
    voxel_um: tuple[float, float, float],
    crop: int,
    dark: bool,
    at_least: float,
    label: Any,
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data(name)
    image, truth = (tifffile.imread(folder / f)[:, :crop, :crop] for f in ("image.tif", "labels.tif"))
    labels, _ = label(image, voxel_um=voxel_um)
    ours = score(labels, truth)
    assert ours.f1 >= at_least
    for theirs in (score(o, truth) for o in _otsu(image, dark)):
        for figure in ("f1", "accuracy", "precision", "panoptic", "dice"):
            assert getattr(ours, figure) > getattr(theirs, figure), figure


def _otsu(image: Image, dark: bool) -> list[Image]:
    """Otsu with connected components, and with a watershed of the distance transform; the polarity is given to them."""
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.segmentation import watershed

    mask = (image > threshold_otsu(image)) != dark
    distance = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(distance, min_distance=10, labels=mask.astype(np.uint8))
    seeds = np.zeros(mask.shape, np.int32)
    if len(peaks):
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return [ndimage.label(mask)[0], watershed(-distance, seeds, mask=mask)]
