"""Fit a pixel classifier on a few labelled patches, and segment with it. Imports scikit-learn inside its functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays.instancing import connected_components
from alcore.fastlearner.training_set import Array, Labelled

TREES = 20
LEAF = 5
"""Fewest training voxels in a leaf."""
SHARE_OF_FEATURES = 0.3
"""Features tried at each split."""
MOST_VOXELS = 8_000
"""Most training voxels: with more patches, fewer of each (a fit stays well below a second)."""
FOLDS = 2
THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
SMOOTHING = 0.7
"""Sigma of the Gaussian over the probabilities, in voxels of the working grid."""
SMALLEST = 0.25
"""Objects below this share of the training objects' median size are dropped."""


@dataclass(frozen=True)
class Model:
    """A fitted classifier. `forest` is None where the labels showed one class only: then `constant` is the probability.

    threshold: of the probability, and min_voxels: of an object on the working grid; both from the training labels alone.
    """

    forest: Any
    constant: float
    threshold: float
    min_voxels: int

    def probability(self, filtered_image: Array) -> Array:
        """Probability (Z, Y, X) float32 in 0..1 that a voxel is inside an object, of features (F, Z, Y, X)."""
        from scipy import ndimage

        shape = filtered_image.shape[1:]
        found = self.rows(np.ascontiguousarray(filtered_image.reshape(len(filtered_image), -1).T)).reshape(shape)
        smooth: Array = ndimage.gaussian_filter(found, [SMOOTHING if n > 1 else 0 for n in shape], truncate=3.0)
        return smooth

    def rows(self, features: Array) -> Array:
        """Probability (n,) float32 of single voxels with these features (n, F), without smoothing."""
        if self.forest is None:
            return np.full(len(features), self.constant, np.float32)
        found: Array = self.forest.predict_proba(features)[:, 1].astype(np.float32)
        return found

    def segment(self, filtered_image: Array) -> npt.NDArray[np.uint32]:
        """Instances (Z, Y, X) on the working grid, 0 = background: 6-connected components above the threshold."""
        return self.instances(self.probability(filtered_image))

    def instances(self, probability: Array) -> npt.NDArray[np.uint32]:
        """Instances of a probability that `probability` returned."""
        return connected_components(probability > self.threshold, self.min_voxels)


def fit(patches: Sequence[Labelled], seed: int) -> Model:
    """Fit extremely randomised trees (Geurts et al. 2006) on labelled patches; the same patches and seed give the same model.

    Voxels carry their weights, so probabilities are those of the tissue and not of the balanced sample. The threshold is the one of best
    Dice over folds that leave whole patches out (voxels of one patch are too alike for a test); with one patch it stays
    at 0.5. Raises ValueError without patches.
    """
    if not patches:
        raise ValueError("the fast learner needs at least one labelled patch")
    rng = np.random.default_rng(seed)
    patches = _thinned(patches, rng)
    inside = np.concatenate([p.inside for p in patches])
    sizes = np.concatenate([p.sizes for p in patches])
    min_voxels = max(2, round(SMALLEST * float(np.median(sizes)))) if len(sizes) else 2
    if inside.all() or not inside.any():
        return Model(None, float(inside.any()), 0.5, min_voxels)
    return Model(_forest(patches, seed), 0.0, _threshold(patches, seed, rng), min_voxels)


def _thinned(patches: Sequence[Labelled], rng: np.random.Generator) -> list[Labelled]:
    """The patches with at most `MOST_VOXELS` training voxels in all, in proportion."""
    total = sum(len(p.inside) for p in patches)
    if total <= MOST_VOXELS:
        return list(patches)
    return [_part(p, rng, MOST_VOXELS / total) for p in patches]


def _part(patch: Labelled, rng: np.random.Generator, share: float) -> Labelled:
    """A random share of a patch's voxels, of each class apart, with the weights raised accordingly."""
    kept, weight = [], patch.weight.copy()
    for value in (True, False):
        members = np.flatnonzero(patch.inside == value)
        if len(members):
            chosen = rng.choice(members, max(1, round(share * len(members))), replace=False)
            weight[chosen] *= len(members) / len(chosen)
            kept.append(chosen)
    rows = np.concatenate(kept)
    return Labelled(patch.rows[rows], patch.inside[rows], weight[rows], patch.sizes)


def _forest(patches: Sequence[Labelled], seed: int, trees: int = TREES) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    weight = np.concatenate([p.weight for p in patches])
    forest = ExtraTreesClassifier(
        trees, min_samples_leaf=LEAF, max_features=SHARE_OF_FEATURES, random_state=seed, n_jobs=1
    )
    rows, inside = np.concatenate([p.rows for p in patches]), np.concatenate([p.inside for p in patches])
    return forest.fit(rows, inside, sample_weight=weight / weight.mean())


def _threshold(patches: Sequence[Labelled], seed: int, rng: np.random.Generator) -> float:
    """The threshold of best Dice on patches that a fold's forest did not see; ties go to the one nearest to 0.5.

    The Dice is that of the rarer class: where objects fill the image, that of objects would give up the walls between them.
    """
    n_folds = min(FOLDS, len(patches))
    fold = rng.permutation(len(patches)) % n_folds
    common = np.zeros(len(THRESHOLDS))
    predicted = np.zeros(len(THRESHOLDS))
    true = total = 0.0
    for f in range(n_folds):
        held = [p for p, k in zip(patches, fold, strict=True) if k == f]
        rest = [p for p, k in zip(patches, fold, strict=True) if k != f]
        if len({bool(v) for p in rest for v in np.unique(p.inside)}) < 2:
            continue  # what is left shows one class: nothing to learn a threshold from
        probability = _forest(rest, seed, TREES // 2).predict_proba(np.concatenate([p.rows for p in held]))[:, 1]
        inside = np.concatenate([p.inside for p in held])
        weight = np.concatenate([p.weight for p in held]).astype(np.float64)
        above = probability[:, None] > THRESHOLDS
        predicted += weight @ above
        common += (weight * inside) @ above
        true += float(weight @ inside)
        total += float(weight.sum())
    if not true or true == total:
        return 0.5
    if true > total / 2:  # the same for background: what was predicted, true and common
        common, predicted, true = total - predicted - true + common, total - predicted, total - true
    dice = 2 * common / (predicted + true)
    best = np.flatnonzero(dice >= dice.max() - 1e-9)
    return float(THRESHOLDS[best[np.argmin(np.abs(THRESHOLDS[best] - 0.5))]])
