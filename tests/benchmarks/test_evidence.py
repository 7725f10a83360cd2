"""The evidence for selection: intervals that know what is paired, test regions that no pool patch comes near, a game that goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paired
from benchmarks.labelled_pools import IMAGES, Pool
from benchmarks.strategies import Played, by_split


def test_the_area_is_a_mean_score_over_doublings() -> None:
    assert paired.area((2, 4, 8), np.array([0.5, 0.5, 0.5])) == pytest.approx(0.5)
    assert paired.area((2, 4, 16), np.array([0.0, 0.6, 0.6])) == pytest.approx((0.3 * 1 + 0.6 * 2) / 3)
    assert paired.area((1, 2), np.zeros((4, 3, 2))).shape == (4, 3)


def test_runs_on_one_region_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(0)
    alike = {split: rng.normal(0, 0.01, 50) + offset for split, offset in enumerate((-0.1, 0.0, 0.1, 0.25))}
    mean, low, high = paired.interval(alike)
    assert mean == pytest.approx(np.mean([v.mean() for v in alike.values()]))
    assert low < -0.02 and high > 0.15
    single = {0: np.concatenate(list(alike.values()))}
    assert high - low > 2 * np.subtract(*paired.interval(single)[:0:-1])
    assert paired.interval(alike) == (mean, low, high)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hit = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = {s: rng.normal(0.3 + o, 0.1, 10) for s, o in enumerate(rng.normal(0, 0.05, 8))}
        _, low, high = paired.interval(values, resamples=500)
        hit += low <= 0.3 <= high
    assert hit >= 85


def test_curves_end_with_the_score_of_all_labels() -> None:
    rest = {"dice": 0.0, "radius": 0.0, "distance": 0.0, "foreground": 0.0, "minutes": 0.0}
    points = [Played(1, 0, "random", b, f1=b / 10, **rest) for b in (2, 4)]
    points += [Played(1, 0, "all", 8, f1=0.9, **rest), Played(1, 0, "coreset", 2, f1=0.7, **rest)]
    found = by_split(points, "random", (2, 4, 8), "f1")
    np.testing.assert_array_equal(found[1], [[0.2, 0.4, 0.9]])


@pytest.mark.parametrize("name", ["sbem", "sbem-y", "nuclei", "cells"])
def test_no_patch_of_a_pool_is_within_a_patch_of_its_test_region(
    name: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    image = IMAGES[name]
    pool = Pool(image, tmp_path, real_data(image.name).parent)
    covered = np.zeros(pool.info.zyx, int)
    for split in range(pool.n_splits):
        rows, region = pool.split(split)
        covered[region.slices] += 1
        low = region.start[image.axis]
        high = low + region.shape[image.axis]
        assert len(rows) >= 48
        for box in (pool.boxes[i] for i in rows):
            a = box.start[image.axis]
            b = a + box.shape[image.axis]
            assert b <= low - image.patch_px[image.axis] or a >= high + image.patch_px[image.axis]
    assert covered.max() == 1 and covered.min() == 1
    voxels = np.zeros(pool.info.zyx, int)
    for box in pool.boxes:
        voxels[box.slices] += 1
    assert (voxels == 1).all()
