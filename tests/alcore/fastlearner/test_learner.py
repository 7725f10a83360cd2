"""The fast learner finds what it was shown, from training labels alone, and gives the same model for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from alcore.arrays import matching
from alcore.arrays.instancing import connected_components
from alcore.fastlearner import learner
from alcore.fastlearner.training_set import (
    Labelled,
    coarse_labels,
    filtered,
    inside_objects,
    sample,
    working_factor,
)

VOXEL_UM = (0.04, 0.01, 0.01)
FACTOR = 2


@pytest.fixture(scope="module")
def tissue() -> list[tuple[np.ndarray, np.ndarray]]:
    """Six patches with blobs that noise hides from a threshold, as (features, instances) on the working grid."""
    made = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(rng.normal(size=(12, 128, 128)), (2, 6, 6))
        labels = connected_components(smooth > 1.3 * smooth.std(), 50).astype(np.int64)
        image = (rng.normal(size=labels.shape) + 1.2 * (labels > 0)).astype(np.float32)[None]
        made.append((filtered(image, VOXEL_UM, FACTOR), coarse_labels(labels, FACTOR)))
    return made


def _labelled(patches: Sequence[tuple[np.ndarray, np.ndarray]], n: int = 400) -> list[Labelled]:
    return [sample(image, labels, n, np.random.default_rng(i)) for i, (image, labels) in enumerate(patches)]


def _dice(model: learner.Model, patch: tuple[np.ndarray, np.ndarray]) -> float:
    return matching.score(model.segment(patch[0]), patch[1]).dice


def test_it_finds_in_new_patches_what_it_was_shown(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    model = learner.fit(_labelled(tissue[:5]), 0)
    assert _dice(model, tissue[5]) > 0.7
    wrong = [
        Labelled(p.rows, np.random.default_rng(0).permutation(p.inside), p.weight, p.sizes)
        for p in _labelled(tissue[:5])
    ]
    assert _dice(learner.fit(wrong, 0), tissue[5]) < 0.4


def test_mitochondria_are_learnt_and_more_labels_help(real_data: Callable[[str], Path]) -> None:
    """On real EM, in a region apart from the training patches."""
    import tifffile

    folder = real_data("sbem_mito_z010-039")
    image, labels = (tifffile.imread(folder / f"{name}.tif")[:12] for name in ("image", "labels"))
    image = ((image - image.mean()) / image.std()).astype(np.float32)[None]
    voxel_um = (0.04, 0.0059, 0.0059)

    def patch(y: int, x: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        part = (slice(None), slice(y, y + size), slice(x, x + size))
        return filtered(image[(slice(None), *part)], voxel_um, 4), coarse_labels(labels[part].astype(np.int64), 4)

    pool = [patch(y, x, 128) for y in range(0, 1024, 128) for x in range(512, 1024, 128)]
    test = patch(256, 0, 384)
    by_number = {
        n: np.mean(
            [
                _dice(
                    learner.fit(_labelled([pool[i] for i in np.random.default_rng(seed).permutation(32)[:n]]), 0), test
                )
                for seed in range(3)
            ]
        )
        for n in (2, 32)
    }
    assert by_number[32] > 0.6
    assert by_number[32] > by_number[2] + 0.05


def test_the_same_seed_gives_the_same_model(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    first, second, other = (learner.fit(_labelled(tissue[:3]), s) for s in (1, 1, 2))
    probability = first.probability(tissue[4][0])
    np.testing.assert_array_equal(probability, second.probability(tissue[4][0]))
    assert (probability != other.probability(tissue[4][0])).any()
    assert first.threshold == second.threshold
    assert probability.dtype == np.float32 and 0 <= probability.min() <= probability.max() <= 1


def test_the_threshold_follows_the_training_labels(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Voxels of objects in the ratio of the tissue: the best threshold is not the one that suits a balanced sample."""
    balanced = [Labelled(p.rows, p.inside, np.ones_like(p.weight), p.sizes) for p in _labelled(tissue[:5])]
    weighted = learner.fit(_labelled(tissue[:5]), 0)
    naive = learner.fit(balanced, 0)
    predicted = [np.mean([(m.segment(p[0]) != 0).mean() for p in tissue[:5]]) for m in (weighted, naive)]
    true = np.mean([(p[1] != 0).mean() for p in tissue[:5]])
    assert abs(predicted[0] - true) < abs(predicted[1] - true)


def test_labels_without_any_object_predict_none(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    model = learner.fit(_labelled([(image, np.zeros_like(labels)) for image, labels in tissue[:3]]), 0)
    assert not model.segment(tissue[5][0]).any()


def test_labels_that_are_all_object_predict_one(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    model = learner.fit(_labelled([(image, np.ones_like(labels)) for image, labels in tissue[:2]]), 0)
    assert (model.segment(tissue[5][0]) == 1).all()


def test_empty_patches_among_others_are_examples_of_background(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    empty = tissue[1][0], np.zeros_like(tissue[1][1])
    assert learner.fit(_labelled([tissue[0], empty]), 0).probability(tissue[2][0]).max() > 0
    assert learner.fit(_labelled([tissue[0], *[empty] * 3]), 0).forest is not None


def test_walls_between_cells_that_fill_the_image_are_not_given_up(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The blobs as walls, all else as objects: the best Dice of objects alone would be had by calling everything one."""
    dense = [(image, (labels == 0).astype(np.int64)) for image, labels in tissue]
    model = learner.fit(_labelled(dense[:5]), 0)
    walls, found = dense[5][1] == 0, model.segment(dense[5][0]) == 0
    assert 2 * (walls & found).sum() / (walls.sum() + found.sum()) > 0.87


def test_no_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        learner.fit([], 0)


def test_a_sample_stands_for_all_voxels_of_its_patch(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    image, labels = tissue[0]
    kept = sample(image, labels, 300, np.random.default_rng(0))
    inside = inside_objects(labels)
    assert len(kept.inside) == 300 and kept.inside.sum() == 150
    assert kept.weight[kept.inside].sum() == pytest.approx(inside.sum(), rel=1e-4)
    assert kept.weight[~kept.inside].sum() == pytest.approx((~inside).sum(), rel=1e-4)
    flat = image.reshape(len(image), -1).T
    assert {row.tobytes() for row in kept.rows} <= {row.tobytes() for row in flat}
    with pytest.raises(ValueError, match="do not match"):
        sample(image, labels[:-1], 300, np.random.default_rng(0))


def test_thinning_keeps_the_weight_of_each_class(
    tissue: list[tuple[np.ndarray, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "MOST_VOXELS", 500)
    patches = _labelled(tissue)
    thin = learner._thinned(patches, np.random.default_rng(0))
    assert sum(len(p.inside) for p in thin) <= 520
    for before, after in zip(patches, thin, strict=True):
        for value in (True, False):
            kept = after.weight[after.inside == value].sum()
            assert kept == pytest.approx(before.weight[before.inside == value].sum(), rel=1e-4)


def test_cells_that_touch_stay_apart() -> None:
    labels = np.zeros((1, 4, 8), np.int64)
    labels[:, :, :4], labels[:, :, 4:] = 1, 2
    inside = inside_objects(labels)
    assert not inside[:, :, 3:5].any() and inside[:, :, :3].all() and inside[:, :, 5:].all()
    alone = np.zeros((1, 4, 8), np.int64)
    alone[:, 1:3, 2:6] = 7
    np.testing.assert_array_equal(inside_objects(alone), alone != 0)


def test_the_grid_of_thick_slices_is_coarser() -> None:
    assert working_factor((0.04, 0.0059, 0.0059), (512, 512)) == 4
    assert working_factor((0.02, 0.01, 0.01), (512, 512)) == 2
    assert working_factor((0.04, 0.0059, 0.0059), (40, 512)) == 2
    assert working_factor((0.01, 0.01, 0.01), (512, 512)) == working_factor(None, (512, 512)) == 1


def test_sizes_that_are_no_multiple_and_values_that_are_not_finite() -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 33, 35)).astype(np.float32)
    image[0, 0, 0, 0], image[0, 1, 2, 3] = np.nan, np.inf
    seen = filtered(image, (0.04, 0.01, 0.01), 4)
    labels = coarse_labels(np.arange(3 * 33 * 35).reshape(3, 33, 35), 4)
    assert seen.shape[1:] == labels.shape == (3, 9, 9)
    assert np.isfinite(seen).all()


def test_what_the_expert_did_not_look_at_teaches_nothing(tissue: list[tuple[np.ndarray, np.ndarray]]) -> None:
    image, truth = tissue[0]
    seen = np.zeros(truth.shape, bool)
    seen[:5] = True
    painted = np.where(seen, truth, truth.max() + 1)  # one object over everything that was not looked at
    a = sample(image, painted, 10**7, np.random.default_rng(0), seen)
    assert a.weight.sum() == pytest.approx(seen.sum()) and len(a.inside) == seen.sum()
    b = sample(image[:, :5], truth[:5], 10**7, np.random.default_rng(0))
    assert sorted(a.sizes) == sorted(b.sizes)
    assert a.inside.sum() == b.inside.sum()
