"""The pools that the evidence is measured on: test regions that no pool patch comes near, and what the benchmarks make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alcore.simulation.pool import Workshop
from benchmarks import encoders
from benchmarks.labelled_pools import IMAGES, pool_of
from benchmarks.pool_embeddings import ENCODERS, params
from benchmarks.strategies import run_of


@pytest.mark.parametrize("name", ["sbem", "sbem-y", "nuclei", "cells"])
def test_no_patch_of_a_pool_is_within_a_patch_of_its_test_region(
    name: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    image = IMAGES[name]
    pool = pool_of(image, Workshop(tmp_path), real_data(image.name).parent)
    assert pool.size == image.pool_size
    covered = np.zeros(pool.info.zyx, int)
    for split in pool.splits:
        covered[split.region.slices] += 1
        low, high = split.region.start[image.axis], split.region.stop[image.axis]
        for box in (pool.boxes[i] for i in split.rows):
            a, b = box.start[image.axis], box.stop[image.axis]
            assert b <= low - image.patch_px[image.axis] or a >= high + image.patch_px[image.axis]
    assert covered.max() == 1 and covered.min() == 1
    voxels = np.zeros(pool.info.zyx, int)
    for box in pool.boxes:
        voxels[box.slices] += 1
    assert (voxels == 1).all()


def test_likeness_is_that_of_neighbours_which_do_not_touch(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    pool = pool_of(IMAGES["nuclei"], Workshop(tmp_path), real_data("ovule_nuclei_1135").parent)
    found = encoders.likeness(pool)
    assert 0.5 < found < 1
    order = np.random.default_rng(0).permutation(len(pool.boxes))
    pool.embeddings = pool.embeddings[order]  # neighbours now mean nothing
    assert encoders.likeness(pool) < 0.4


def test_runs_are_of_one_pool_and_one_encoder(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    real_data(IMAGES["sbem"].name)
    runs = [run_of(pool, encoder, ("random",), 2, tmp_path) for pool in ("sbem", "sbem-y") for encoder in ENCODERS]
    assert len({run.settings.digest() for run in runs}) == 2 * len(ENCODERS)
    assert {run.pairs[0].name for run in runs} == {"sbem", "sbem-y"}
    assert params("mae_micro")["size"] == "micro" and params("descriptor").keys() >= {"kind", "image_px"}
