"""Labelled images as pools of patches with test regions apart from them: what the evidence for selection is measured on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alcore.arrays import normalise
from alcore.artifact import ArtifactStore
from alcore.encoder.pool import PoolVolume
from alcore.fastlearner import training_set
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes import open_volume

PER_PATCH = 400
"""Voxels of a labelled patch that the fast learner may train on."""
PER_PATCH_LOOK = 200
"""Voxels of a patch, drawn evenly, on which the fast learner's entropy is measured."""


@dataclass(frozen=True)
class Image:
    """A labelled image and how it is cut. patch_px (z, y, x). voxel_um (z, y, x). axis: the one that test regions are cut
    along (1 = Y, 2 = X). test: patches of a test region along it; one patch on either side of it is not used."""

    name: str
    patch_px: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    axis: int
    test: int


IMAGES = {
    "sbem": Image("sbem_mito_z010-039", (15, 64, 64), (0.04, 0.0059, 0.0059), 2, 4),
    "sbem-y": Image("sbem_mito_z010-039", (15, 64, 64), (0.04, 0.0059, 0.0059), 1, 4),
    "sbem-128": Image("sbem_mito_z010-039", (15, 128, 128), (0.04, 0.0059, 0.0059), 2, 2),
    "nuclei": Image("ovule_nuclei_1135", (20, 20, 20), (0.284, 0.127, 0.127), 2, 1),
    "cells": Image("ovule_cells", (16, 16, 16), (0.235, 0.15, 0.15), 2, 2),
    "fib": Image("fib_gala_train", (25, 20, 20), (0.01, 0.01, 0.01), 2, 2),
}


def data_folder() -> Path:
    """$ALSCOPE_DATA, or shared/data beside the checkout."""
    named = os.environ.get("ALSCOPE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


class Pool:
    """One labelled image: its stages' artifacts (made once, kept in `cache`), its patches, and what a learner sees of them."""

    def __init__(self, image: Image, cache: Path, data: Path) -> None:
        self.image = image
        self.folder = data / image.name
        self.artifacts = ArtifactStore(cache / "artifacts")
        self.ctx = QuietContext(cache / "scratch" / image.name, cache / "rebuildable")
        self.ctx.scratch.mkdir(parents=True, exist_ok=True)
        path = self.folder / "image.tif"
        self.source = Input(path, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
        params = {
            "read": {},
            "voxel_um": list(image.voxel_um),
            "patch": {"shape_px": list(image.patch_px)},
            "fingerprint": None,
            "limit_gb": 4.0,
        }
        self.volume = self.made("volume", {"source": [self.source]}, params)
        self.info = PoolVolume.of(self.volume.path, self.source.path, {}).info
        self.boxes = [Box.from_json(p) for p in json.loads((self.volume.path / "patches.json").read_text())]

    def made(self, stage: str, inputs: dict[str, list[Input]], params: dict[str, Any]) -> Input:
        """The artifact of a stage, made now or earlier."""
        manifest = execute(stage, inputs, params, self.artifacts, self.ctx)
        return Input(self.artifacts.path(manifest.key), manifest.key)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """True instances (Z, Y, X)."""
        import tifffile

        return tifffile.imread(self.folder / "labels.tif").astype(np.int64)

    @cached_property
    def normalised(self) -> npt.NDArray[np.float32]:
        """The image (1, Z, Y, X), normalised with the constants of the volume."""
        with open_volume(self.source.path) as reader:
            return normalise.fixed(reader.read(Box((0, 0, 0), self.info.zyx)), self.info.stats)

    @cached_property
    def pseudo(self) -> npt.NDArray[np.uint32]:
        """Pseudo-labels (Z, Y, X) of the threshold backend."""
        from alcore.volumes.store import open_labels

        made = self.pseudo_artifact
        return np.asarray(open_labels(made.path / "instances.zarr")[...])

    @cached_property
    def pseudo_artifact(self) -> Input:
        """The artifact of stage `pseudo`."""
        inputs = {"volume": [self.volume], "source": [self.source]}
        return self.made("pseudo", inputs, {"read": {}, "backend": "threshold", "options": {}})

    @cached_property
    def factor(self) -> int:
        """See `training_set.working_factor`."""
        return training_set.working_factor(self.image.voxel_um, self.image.patch_px[1:])

    @cached_property
    def patches(self) -> list[tuple[training_set.Labelled, npt.NDArray[np.float32]]]:
        """Of every patch: what a fit keeps of it, and the features (n, F) of some of its voxels, drawn evenly.

        Filters see the patch alone, as they do in a label artifact.
        """
        out = []
        for row, box in enumerate(self.boxes):
            rng = np.random.default_rng([0, row])
            seen = training_set.filtered(self.normalised[(slice(None), *box.slices)], self.image.voxel_um, self.factor)
            truth = training_set.coarse_labels(self.labels[box.slices], self.factor)
            flat = seen.reshape(len(seen), -1)
            look = rng.choice(flat.shape[1], min(PER_PATCH_LOOK, flat.shape[1]), replace=False)
            out.append((training_set.sample(seen, truth, PER_PATCH, rng), np.ascontiguousarray(flat[:, look].T)))
        return out

    def traits(self, labels: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Per patch, of instances (Z, Y, X), true or pseudo: foreground and border (shares of voxels), n_objects (shares of
        objects inside)."""
        sizes = np.bincount(labels.ravel())
        border = (labels != 0) & ~_interior(labels)
        foreground, edge, n = [], [], []
        for box in self.boxes:
            part = labels[box.slices]
            ids, count = np.unique(part[part != 0], return_counts=True)
            foreground.append((part != 0).mean())
            edge.append(border[box.slices].mean())
            n.append((count / sizes[ids]).sum())
        found = {"foreground": foreground, "border": edge, "n_objects": n}
        return {name: np.array(values, np.float32) for name, values in found.items()}

    @cached_property
    def n_splits(self) -> int:
        """How many disjoint test regions there are along the axis."""
        return self._columns // self.image.test

    @cached_property
    def _column(self) -> npt.NDArray[np.int64]:
        starts = np.array([box.start[self.image.axis] for box in self.boxes])
        return np.unique(starts, return_inverse=True)[1]

    @cached_property
    def _columns(self) -> int:
        return int(self._column.max()) + 1

    def split(self, number: int) -> tuple[npt.NDArray[np.int64], Box]:
        """Rows of the pool's patches, and the test region: a slab across the image, with one row of patches unused beside it."""
        low = number * self.image.test
        inside = (self._column >= low) & (self._column < low + self.image.test)
        near = (self._column >= low - 1) & (self._column <= low + self.image.test)
        axis = self.image.axis
        held = [self.boxes[i] for i in np.flatnonzero(inside)]
        start, shape = [0, 0, 0], list(self.info.zyx)
        start[axis] = min(box.start[axis] for box in held)
        shape[axis] = max(box.start[axis] + box.shape[axis] for box in held) - start[axis]
        return np.flatnonzero(~near), Box((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))

    def test(self, region: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
        """Features (F, Z, Y, X) and true instances (Z, Y, X) of a region on the working grid, filtered without its surround."""
        seen = training_set.filtered(self.normalised[(slice(None), *region.slices)], self.image.voxel_um, self.factor)
        return seen, training_set.coarse_labels(self.labels[region.slices], self.factor)


def _interior(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Voxels of an object whose face neighbours all belong to it."""
    same = labels != 0
    for axis in range(3):
        step = np.diff(labels, axis=axis) != 0
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        same[tuple(low)] &= ~step
        same[tuple(high)] &= ~step
    return same
