"""Prediction: blocks equal the whole voxel for voxel; instances through files equal instances in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alcore.arrays import normalise
from alcore.arrays.block_bordercore import instances as border_core_instances
from alcore.arrays.instancing import connected_components
from alcore.errors import PermanentError
from alcore.nnunet import model, training
from alcore.nnunet.environment import nnunet_process
from alcore.nnunet.plan import PlanRequest
from alcore.run import QuietContext
from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING, blobs, case

REQUESTS = {
    "grid of the image": PlanRequest("tiny", (1, 1, 1)),
    "binned": PlanRequest("tiny", (1, 2, 2)),
    "border and core": PlanRequest("tiny", (1, 2, 2), instances="border-core", border_um=0.02),
}


@pytest.fixture(
    scope="module", params=[pytest.param("grid of the image", marks=pytest.mark.slow), "binned", "border and core"]
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned a little: its masks have structure."""
    root = tmp_path_factory.mktemp("model")
    for name in ("scratch", "out"):
        (root / name).mkdir()
    ctx = QuietContext(root / "scratch", root / "cache")
    cases = [case(s) for s in (1, 2)]
    designed = training.design(REQUESTS[request.param], cases, ctx)
    training.train(designed, training.Mixture(cases), QUICK, 0, None, root / "out", ctx, {})
    return root / "out"


@pytest.mark.parametrize("shape", [(8, 64, 64), (13, 101, 90), (3, 40, 110)])
def test_blocks_equal_the_whole(trained: Path, ctx: QuietContext, shape: tuple[int, int, int]) -> None:
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    image, _ = blobs(3, shape, n=20)
    stats = normalise.measure(image, np.random.default_rng(0))
    masks = []
    with nnunet_process(ctx.scratch, "cpu", 1):
        for block in ((4096, 4096), (37, 48)):
            predictor = Predictor(trained, "cpu", block_px=block)
            seen = np.zeros(shape, np.uint8)
            mask = np.zeros(shape, bool)
            for box, part in predictor.foreground(ArrayVoxels(image), stats, SPACING):
                assert part.shape == box.shape
                mask[box.slices] = part
                seen[box.slices] += 1
            assert (seen == 1).all()
            masks.append(mask)
    assert 0 < masks[0].sum() < masks[0].size
    assert all((m == masks[0]).all() for m in masks[1:])


def test_instances_through_files_equal_those_in_memory(trained: Path, ctx: QuietContext) -> None:
    from alcore.nnunet import instances
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    image, _ = blobs(4, (19, 90, 80), n=20)
    stats = normalise.measure(image, np.random.default_rng(0))
    with nnunet_process(ctx.scratch, "cpu", 1):
        predictor = Predictor(trained, "cpu", block_px=(32, 32))
        expected = instances.segment_patch(predictor, image, stats, SPACING, 5)
        big = instances.VolumeInstances(ctx.scratch / "p", (19, 90, 80), 1 << 20)
        big.segment(predictor, ArrayVoxels(image), stats, SPACING, 5, ctx)
        found = np.concatenate(list(big.rows())).reshape(expected.shape)
        assert (found == expected).all()
        assert big.n_objects == expected.max()
        assert big.foreground_voxels == (expected > 0).sum()
        big.close()
    assert not list((ctx.scratch / "p").iterdir())
    assert (connected_components(expected > 0) > 0).any()
    with nnunet_process(ctx.scratch, "cpu", 1):
        logits = np.zeros((predictor.design.n_classes - 1, *expected.shape), np.float32)
        for box, part in predictor.class_logits(ArrayVoxels(image), stats, SPACING):
            logits[(slice(None), *box.slices)] = part
    argmax = (
        np.concatenate([np.zeros_like(logits[:1]), logits]).argmax(0).astype(np.uint8)
    )  # of all classes, as nnU-Net
    if predictor.design.border is None:
        assert (expected == connected_components(argmax, 5)).all()
    else:
        assert {1, 2} <= set(np.unique(argmax))
        assert (expected == border_core_instances(argmax, 5, predictor.design.least_core, True)).all()


@pytest.mark.parametrize("shape", [(29, 101, 90), (3, 40, 110)])
def test_from_any_row_of_tiles_the_rest_is_the_same_to_the_bit(
    trained: Path, ctx: QuietContext, shape: tuple[int, int, int]
) -> None:
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    image, _ = blobs(5, shape, n=20)
    stats = normalise.measure(image, np.random.default_rng(0))
    with nnunet_process(ctx.scratch, "cpu", 1):
        predictor = Predictor(trained, "cpu", block_px=(37, 96))
        arguments = (ArrayVoxels(image), stats, SPACING)
        done, whole = [0], []  # for every box, the rows of tiles before it
        for box, values in predictor.logits(*arguments, finished=done.append):
            whole.append((done[-1], box, values))
        assert done == list(range(len(done))) and len(done) > (4 if shape[0] > 3 else 1)
        for begin in {*done[:: max(1, len(done) // 4)], done[-1]}:
            rest = list(predictor.logits(*arguments, begin=begin))
            expected = [(box, values) for before, box, values in whole if before >= begin]
            assert [box for box, _ in rest] == [box for box, _ in expected]
            assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(rest, expected, strict=True))


def test_another_number_of_channels_is_refused(trained: Path, ctx: QuietContext) -> None:
    from alcore.nnunet.prediction import ArrayVoxels, Predictor

    image = np.zeros((2, 8, 64, 64), np.float32)
    with nnunet_process(ctx.scratch, "cpu", 1), pytest.raises(PermanentError, match="2 channels"):
        list(Predictor(trained, "cpu").foreground(ArrayVoxels(image), (), None))


def test_an_image_on_a_finer_grid_is_binned_to_the_models(trained: Path) -> None:
    design = model.load_design(trained)
    z, y, x = SPACING
    f = design.binning[1]
    assert design.binning_of(None) == design.binning_of(SPACING) == (1, f, f)
    assert design.binning_of((z, y / 2, x / 2)) == (1, 2 * f, 2 * f)
    assert design.binning_of((1.2 * z, 1.1 * y, 1.1 * x)) == (1, f, f)
    with pytest.raises(PermanentError, match="voxel size"):
        design.binning_of((z * 4, y, x))
    with pytest.raises(PermanentError, match="voxel size"):
        design.binning_of((z, y * 8, x * 8))
