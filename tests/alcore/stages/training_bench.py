"""One tiny acquisition with volume, pseudo-label and label artifacts, for the stages that train and predict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alcore.arrays import normalise
from alcore.arrays.tiling import tile
from alcore.artifact import ArtifactStore, Manifest
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box, VolumeInfo
from alcore.volumes.store import create_labels
from alcore.volumes.writers import write_image_tiff, write_labels_tiff

VOXEL_UM = (0.04, 0.01, 0.01)
SHAPE = (8, 64, 96)
QUICK = {"epochs": 2, "iterations": 3, "lr": 3e-3, "validation_iterations": 1}
PATCHES = [*tile(SHAPE, (8, 32, 48)), Box((2, 20, 40), (6, 44, 56))]
"""The last one overlaps others."""
READ: dict[str, Any] = {"axes": None, "channels": None}


@dataclass
class Bench:
    """One acquisition with its volume, pseudo-label and label artifacts, written by hand."""

    root: Path
    n_runs: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.store = ArtifactStore(self.root / "artifacts")
        z, y, x = np.indices(SHAPE)
        self.truth = np.zeros(SHAPE, np.uint32)
        for n, (a, b) in enumerate([(14, 14), (44, 20), (20, 50), (48, 60), (14, 80), (45, 84)]):
            self.truth[((z - 4) / 3) ** 2 + ((y - a) / 8) ** 2 + ((x - b) / 8) ** 2 < 1] = n + 1
        self.image = np.clip(90 + 90 * (self.truth > 0) + rng.normal(0, 10, SHAPE), 0, 255).astype(np.uint8)[None]
        self.stats = normalise.measure(self.image, rng)
        write_image_tiff(self.root / "v.tif", self.image, VOXEL_UM)
        info = VolumeInfo("0" * 64, (1, *SHAPE), "uint8", VOXEL_UM, "file", self.stats)
        self.volume = self.folder("volume")
        (self.volume.path / "info.json").write_text(json.dumps(info.to_json()))
        (self.volume.path / "patches.json").write_text(json.dumps([b.to_json() for b in PATCHES]))
        self.source = Input(self.root / "v.tif", "sha256:" + "0" * 64)
        self.pseudo = self.folder("pseudo")
        create_labels(self.pseudo.path / "instances.zarr", SHAPE)[:] = self.truth
        self.nothing = self.folder("nothing")
        create_labels(self.nothing.path / "instances.zarr", SHAPE)
        self.labels = [self.label(n, Box((0, 0, 32 * n), (8, 64, 32))) for n in range(3)]

    def folder(self, name: str) -> Input:
        path = self.root / name
        path.mkdir()
        return Input(path, f"{name}-key")

    def label(self, n: int, box: Box) -> Input:
        item = self.folder(f"label{n}")
        write_image_tiff(item.path / "image.tif", self.image[(slice(None), *box.slices)], VOXEL_UM)
        write_labels_tiff(item.path / "label.tif", self.truth[box.slices], box.shape, "uint32", VOXEL_UM)
        half = np.where(self.truth[box.slices] % 2, self.truth[box.slices], 0)
        write_labels_tiff(item.path / "pseudo.tif", half, box.shape, "uint16", VOXEL_UM)
        stats = [vars(s) for s in self.stats]
        about = {"box": box.to_json(), "voxel_um": VOXEL_UM, "stats": stats, "volume_sha256": "0" * 64}
        (item.path / "label.json").write_text(json.dumps(about))
        return item

    def run(self, stage: str, inputs: dict[str, list[Input]], params: dict[str, Any]) -> tuple[Manifest, Input]:
        self.n_runs += 1  # each job has a scratch of its own, as with the daemon
        ctx = QuietContext(self.root / f"scratch-{self.n_runs}", self.root / "cache")
        ctx.scratch.mkdir()
        manifest = execute(stage, inputs, params, self.store, ctx)
        return manifest, Input(self.store.path(manifest.key), manifest.key)

    def pretrain(self, pseudo: Input) -> tuple[Manifest, Input]:
        patches = [{"volume": 0, "start": [0, 0, x], "shape": [8, 64, 48]} for x in (0, 48)]
        return self.run(
            "pretrain",
            {"volume": [self.volume], "source": [self.source], "pseudo": [pseudo]},
            {"read": [READ], "patches": patches, "plan": "tiny", "schedule": QUICK, "seed": 1},
        )
