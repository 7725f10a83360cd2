"""The fast learner: a pixel classifier on multi-scale filters, seconds for a cell, so that a CPU gets ten seeds in an hour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alcore.arrays import matching
from alcore.fastlearner import learner, training_set
from alcore.fastlearner.training_set import Labelled
from alcore.simulation.pool import Ids, LabelledPool, Rows
from alcore.types import Scores

PER_PATCH = 400
"""Voxels of a labelled patch that may be trained on."""
PER_PATCH_LOOK = 200
"""Voxels of a patch, drawn evenly, on which a model's entropy is measured."""
MIX_PATCHES = 16
"""Pseudo-labelled patches that stand for pre-training: a forest cannot be fine-tuned."""
MIX_SHARE = 0.2
"""Of the weight of all training voxels, as the daemon mixes pseudo-labels into a fine-tuning."""

Features = npt.NDArray[np.float32]


class FastPool:
    """What the fast learner keeps of a pool, whatever the split: features of some voxels of every patch."""

    def __init__(self, pool: LabelledPool) -> None:
        self.pool = pool
        shortest = tuple(min(box.shape[axis] for box in pool.boxes) for axis in (1, 2))
        self.factor = training_set.working_factor(pool.info.voxel_um, (shortest[0], shortest[1]))
        self._labelled: dict[tuple[int, int], Labelled] = {}
        self._looks: dict[int, Features] = {}
        self._pseudo: dict[int, Labelled] = {}
        self._tests: dict[int, tuple[Features, npt.NDArray[np.generic]]] = {}

    def _features(self, row: int) -> Features:
        """Filters see the patch alone, as they do in a label artifact."""
        voxels = self.pool.voxels[(slice(None), *self.pool.boxes[row].slices)]
        return training_set.filtered(voxels, self.pool.info.voxel_um, self.factor)

    def _sampled(self, row: int, labels: Ids, features: Features) -> Labelled:
        coarse = training_set.coarse_labels(labels, self.factor)
        return training_set.sample(features, coarse, PER_PATCH, np.random.default_rng([0, row]))

    def labelled(self, row: int, seed: int) -> Labelled:
        """A patch with what the expert draws in it, reduced to some voxels."""
        key = (row, seed if self.pool.settings.expert.errs else 0)
        if key not in self._labelled:
            self._labelled[key] = self._sampled(row, self.pool.drawn(row, seed), self._features(row))
        return self._labelled[key]

    def pseudo(self, row: int) -> Labelled:
        """The same with pseudo-labels."""
        if row not in self._pseudo:
            labels = self.pool.pseudo_labels[self.pool.boxes[row].slices]
            self._pseudo[row] = self._sampled(row, labels, self._features(row))
        return self._pseudo[row]

    def look(self, row: int) -> Features:
        """Features (n, F) of some voxels of a patch."""
        if row not in self._looks:
            features = self._features(row)
            flat = features.reshape(len(features), -1)
            rng = np.random.default_rng([1, row])
            voxels = rng.choice(flat.shape[1], min(PER_PATCH_LOOK, flat.shape[1]), replace=False)
            self._looks[row] = np.ascontiguousarray(flat[:, voxels].T)
        return self._looks[row]

    def test(self, split: int) -> tuple[Features, npt.NDArray[np.generic]]:
        """Features and true instances of a test region on the working grid, filtered without its surround."""
        if split not in self._tests:
            region = self.pool.splits[split].region.slices
            features = training_set.filtered(
                self.pool.voxels[(slice(None), *region)], self.pool.info.voxel_um, self.factor
            )
            self._tests[split] = features, training_set.coarse_labels(self.pool.truth[region], self.factor)
        return self._tests[split]


class FastLearner:
    """A Learner. Its threshold comes from folds of the labelled patches. Scores are on its working grid, where test region and
    truth are as coarse in the plane as slices are apart: they compare strategies, not with other learners."""

    def __init__(self, kept: FastPool, split: int, seed: int, rows: Rows) -> None:
        self._kept, self._rows, self._seed = kept, rows, seed
        self._split = split

    def learn(self, rows: Rows, pretrained: bool) -> learner.Model:
        """See `Learner`. Pre-training stands for a share of the training voxels, from patches that are not labelled."""
        labels = [self._kept.labelled(int(row), self._seed) for row in rows]
        if not len(rows):
            return learner.fit([self._kept.pseudo(int(row)) for row in self._rows], self._seed)
        rest = np.setdiff1d(self._rows, rows)
        if pretrained and len(rest):
            drawn = np.random.default_rng([self._seed, 2]).permutation(rest)[:MIX_PATCHES]
            others = [self._kept.pseudo(int(row)) for row in drawn]
            own, their = (sum(float(p.weight.sum()) for p in part) for part in (labels, others))
            by = np.float32(MIX_SHARE / (1 - MIX_SHARE) * own / their)
            labels += [Labelled(p.rows, p.inside, p.weight * by, np.empty(0, np.int64)) for p in others]
        return learner.fit(labels, self._seed)

    def scores(self, model: learner.Model) -> Scores:
        """See `Learner`."""
        features, truth = self._kept.test(self._split)
        return matching.count(model.segment(features), truth).scores()

    def seen(self, model: learner.Model) -> dict[str, npt.NDArray[np.float32]]:
        """Mean predictive entropy (0..1) over voxels predicted background and foreground, NaN where there is none."""
        looks = [self._kept.look(int(row)) for row in self._rows]
        n = min(len(look) for look in looks)
        probability = model.rows(np.concatenate([look[:n] for look in looks])).astype(np.float64).reshape(len(looks), n)
        p = np.clip(probability, 1e-9, 1 - 1e-9)
        entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        found = {}
        for name, part in {"fg": probability > model.threshold, "bg": probability <= model.threshold}.items():
            count = part.sum(1)
            mean = (entropy * part).sum(1) / np.maximum(count, 1)
            found[f"entropy_{name}"] = np.where(count > 0, mean, np.nan).astype(np.float32)
        return found

    def notes(self, model: learner.Model) -> tuple[str, ...]:
        """See `Learner`."""
        return ()
