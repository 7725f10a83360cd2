"""Stacks of few slices, alone or among thick ones, and patches of few pixels: pre-training, fine-tuning and prediction."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from alcore.errors import PermanentError
from alcore.nnunet import training
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from alcore.types import IntensityStats
from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING, blobs, case

AS_IT_IS = (IntensityStats(0.0, 1.0, -100.0, 100.0, -100.0, 100.0),)
LONG_ENOUGH = dataclasses.replace(QUICK, epochs=1, iterations=12)
"""Nearly every kind of augmentation comes up: each concerns a tenth of the crops or more."""

slow = pytest.mark.slow
POOLS = [
    pytest.param([1, 1], "2d", marks=slow),
    pytest.param([2, 2], "2d", marks=slow),
    ([3, 3], "2d"),
    pytest.param([4, 4], "3d_fullres", marks=slow),
    pytest.param([5, 5], "3d_fullres", marks=slow),
    pytest.param([7, 7], "3d_fullres", marks=slow),
    pytest.param([2, 3, 20], "2d", marks=slow),
    ([1, 12, 12], "3d_fullres"),
    pytest.param([3, 16], "3d_fullres", marks=slow),
]


@pytest.mark.parametrize(("slices", "configuration"), POOLS, ids=lambda v: str(v).replace(" ", ""))
def test_a_pool_of_any_thickness(slices: list[int], configuration: str, ctx: QuietContext) -> None:
    from alcore.nnunet.instances import segment_patch
    from alcore.nnunet.prediction import Predictor

    cases = [case(n, shape=(z, 64, 64)) for n, z in enumerate(slices)]
    designed = training.design(PlanRequest("tiny"), cases, ctx)
    assert designed.configuration == configuration
    start = None
    for name, some in (("pretrained", cases), ("finetuned", cases[:1])):
        out, scratch = (ctx.scratch.parent / f"{name}-{word}" for word in ("out", "scratch"))
        out.mkdir()
        scratch.mkdir()
        result = training.train(
            designed, training.Mixture(some), LONG_ENOUGH, 0, start, out, QuietContext(scratch, ctx.cache), {}
        )
        assert np.isfinite(result["loss"])
        start = out
    assert start is not None
    with nnunet_process(ctx.scratch, "cpu", 1):
        predictor = Predictor(start, "cpu")
        for z in {1, 6, *slices}:
            image, _ = blobs(40 + z, (z, 70, 60))
            assert segment_patch(predictor, image, AS_IT_IS, SPACING, 1).shape == image.shape[1:]


@pytest.mark.parametrize(("shape", "binning"), [((8, 64, 64), 8), ((3, 64, 64), 8), ((8, 16, 16), 1), ((5, 6, 6), 1)])
def test_patches_of_few_pixels_get_a_small_network(
    shape: tuple[int, int, int], binning: int, ctx: QuietContext
) -> None:
    cases = [case(s, shape=shape) for s in (1, 2)]
    designed = training.design(PlanRequest("tiny", binning=(1, binning, binning)), cases, ctx)
    assert math.prod(designed.patch_px) * binning**2 <= math.prod(shape)
    out = ctx.scratch.parent / "out"
    out.mkdir()
    result = training.train(designed, training.Mixture(cases), QUICK, 0, None, out, ctx, {})
    assert np.isfinite(result["loss"])


def test_patches_of_hardly_any_pixels_are_refused(ctx: QuietContext) -> None:
    with pytest.raises(PermanentError, match="3 x 3 network pixels"):
        training.design(PlanRequest("tiny"), [case(s, shape=(5, 3, 3)) for s in (1, 2)], ctx)
