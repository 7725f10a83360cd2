"""Cells in contact: a small network that has learned core and border tells them apart where connected components merge them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from alcore.arrays.matching import count, pool
from alcore.nnunet import training
from alcore.nnunet.case import Arrays, Case
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from alcore.types import Scores
from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING
from tests.alcore.nnunet.test_nnunet_training import AS_IT_IS

SHAPE = (6, 80, 80)


def cells(seed: int) -> Arrays:
    """Normalised image (1, Z, Y, X) and instances: columns that fill three quarters of the field, a faint wall between them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(8, 80, 16), np.arange(8, 80, 16), indexing="ij"), -1).reshape(-1, 2)
    centres = grid + rng.uniform(-4, 4, grid.shape)
    missing = rng.choice(len(centres), len(centres) // 4, replace=False) + 1
    y, x = np.indices(SHAPE[1:])
    labels = np.zeros(SHAPE, np.uint32)
    for plane in labels:
        shifted = centres + rng.normal(0, 0.4, centres.shape)
        distance = np.hypot(y[..., None] - shifted[:, 0], x[..., None] - shifted[:, 1])
        plane[...] = np.where(distance.min(-1) < 9, distance.argmin(-1) + 1, 0)
        plane[np.isin(plane, missing)] = 0
    wall = np.zeros(SHAPE, bool)
    for axis in (1, 2):
        after = np.roll(labels, -1, axis)
        wall |= (labels > 0) & (labels != after)
    image = ndimage.gaussian_filter(2.0 * (labels > 0) - 1.0 * wall, (0, 0.7, 0.7)) + rng.normal(0, 0.35, SHAPE)
    return image[None].astype(np.float32), labels


def scored(ctx: QuietContext, instances: str) -> Scores:
    """Train on three patches, and segment two others."""
    scratch, out = ctx.scratch / instances, ctx.scratch / f"{instances}-model"
    scratch.mkdir()
    out.mkdir()
    ctx = QuietContext(scratch, ctx.cache)
    cases = [Case(f"cells {seed}", SPACING, lambda seed=seed: cells(seed)) for seed in range(3)]  # type: ignore[misc]
    designed = training.design(PlanRequest("tiny", (1, 1, 1), instances=instances), cases, ctx)
    schedule = dataclasses.replace(QUICK, epochs=3, iterations=25, lr=5e-3)
    training.train(designed, training.Mixture(cases), schedule, 0, None, out, ctx, {})
    with nnunet_process(scratch, "cpu", 1):
        from alcore.nnunet.instances import segment_patch
        from alcore.nnunet.prediction import Predictor

        predictor = Predictor(out, "cpu")
        held_out = [cells(seed) for seed in (100, 101)]
        return pool(count(segment_patch(predictor, image, AS_IT_IS, SPACING, None), truth) for image, truth in held_out)


@pytest.mark.slow
def test_a_network_that_learned_borders_keeps_cells_apart(ctx: QuietContext) -> None:
    apart, merged = scored(ctx, "border-core"), scored(ctx, "components")
    assert apart.f1 > 0.7
    assert apart.f1 > merged.f1 + 0.2
