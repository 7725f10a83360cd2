"""The synthetic volume is deterministic, looks as promised to a threshold, and keeps its truth consistent."""

from __future__ import annotations

import time

import numpy as np
import pytest

from alcore.arrays.instancing import connected_components
from alcore.arrays.matching import score
from alcore.arrays.synthetic import em_volume

VOXEL = (0.05, 0.01, 0.01)


@pytest.fixture(scope="module")
def volume():
    return em_volume((24, 256, 256), VOXEL, np.random.default_rng(3))


def test_image_and_truth_fit(volume):
    image, labels = volume
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint16)
    assert image.shape == labels.shape == (24, 256, 256)
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 20
    assert 0.05 < (labels > 0).mean() < 0.12
    assert ((image == 0) | (image == 255)).mean() < 0.01


def test_components_of_the_truth_are_nearly_its_instances(volume):
    _, labels = volume
    assert score(connected_components(labels > 0), labels).f1 > 0.9


def test_some_instances_touch_and_others_never_do():
    joined = em_volume((24, 256, 256), VOXEL, np.random.default_rng(5), touching=1.0)[1]
    apart = em_volume((24, 256, 256), VOXEL, np.random.default_rng(5), touching=0.0)[1]
    assert connected_components(joined > 0).max() < joined.max()
    assert connected_components(apart > 0).max() == apart.max()


def test_targets_are_darker_but_no_threshold_finds_them(volume):
    image, labels = volume
    assert image[labels > 0].mean() < image[labels == 0].mean() - 20
    best = max(score(connected_components(image < level, 100), labels).f1 for level in range(40, 160, 10))
    assert best < 0.3


def test_the_generator_decides_everything():
    one, same, other = (em_volume((6, 64, 64), VOXEL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], same[0])
    np.testing.assert_array_equal(one[1], same[1])
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize(
    ("shape", "voxel"), [((1, 90, 70), VOXEL), ((40, 40, 40), (0.01, 0.01, 0.01)), ((5, 33, 47), VOXEL)]
)
def test_other_shapes_and_voxels(shape, voxel):
    image, labels = em_volume(shape, voxel, np.random.default_rng(0))
    assert image.shape == labels.shape == shape
    assert image.std() > 10


def test_it_is_quick():
    began = time.process_time()
    em_volume((16, 192, 192), VOXEL, np.random.default_rng(0))
    assert time.process_time() - began < 4
