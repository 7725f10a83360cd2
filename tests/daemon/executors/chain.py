"""Jobs from an acquisition to a checked label, as the daemon orders them: to compare executors by what they make, and how long it takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore import pages
from alcore.artifact import ArtifactStore, read_manifest
from alcore.run import key_of
from alcore.stage import Input, Inputs, Params
from daemon.executors.port import Order, Places

READ = {"axes": "ZYX"}
PATCH = [8, 64, 64]
STAGES = ("volume", "pseudo", "traits", "encoder", "embedding", "novelty", "suggestions", "package", "label")


def acquisition(path: Path, seed: int, shape: tuple[int, int, int] = (8, 128, 128)) -> Path:
    """Bright balls on tissue of which no two places are alike: an encoder has to tell them apart."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape, np.float32)
    image = rng.normal(80, 4, shape).astype(np.float32)
    for wave in range(1, 9):  # stripes that are the finer the farther right, and the steeper the farther down
        across, down = (wave * (1 + x / shape[2]) + rng.uniform(0, 9)) * x, (wave * y / shape[1]) * y
        image += 40 / wave * np.sin((across + down) / shape[2] + wave * z * y / shape[1])
    for _ in range(12):
        c = rng.uniform(0.1, 0.9, 3) * shape
        image[((z - c[0]) * 3) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 < 11**2] += 90
    tifffile.imwrite(path, image.clip(0, 255).astype(np.uint8), metadata={"axes": "ZYX"})
    return path


@dataclass
class Chain:
    """Orders for acquisitions one after the other, each made from what the orders before it made in these places."""

    places: Places
    made: dict[str, Input] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    n: int = 0

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.places.artifacts)

    def orders(self, source: Path) -> Iterator[Order]:
        """The next one is asked for when the one before is done."""
        file = Input(source, f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}")
        for stage in STAGES:
            if stage == "encoder" and "encoder" in self.made:
                continue
            recipes: Callable[[Input], tuple[Inputs, Params]] = getattr(self, f"_{stage}")
            inputs, params = recipes(file)
            self.n += 1
            key = key_of(stage, inputs, params)
            yield Order(self.n, 1, key, stage, inputs, params, "cpu", 1, 4 << 30, False, False, 120.0)
            self.made[stage] = Input(self.store.path(key), key)
            if stage == "embedding":
                self.rows.append({name: self.made[name].key for name in ("embedding", "volume", "traits")})

    def _on_volume(self, file: Input) -> dict[str, list[Input]]:
        return {"volume": [self.made["volume"]], "source": [file]}

    def _volume(self, file: Input) -> tuple[Inputs, Params]:
        known = {"read": READ, "voxel_um": [0.04, 0.01, 0.01], "patch": {"shape_px": PATCH}, "fingerprint": None}
        return {"source": [file]}, {**known, "limit_gb": 4.0}

    def _pseudo(self, file: Input) -> tuple[Inputs, Params]:
        options = {"polarity": "bright", "radius_px": 9}
        return self._on_volume(file), {"read": READ, "backend": "threshold", "options": options}

    def _traits(self, file: Input) -> tuple[Inputs, Params]:
        return self._on_volume(file) | {"pseudo": [self.made["pseudo"]]}, {"read": READ}

    def _encoder(self, file: Input) -> tuple[Inputs, Params]:
        how = {"kind": "descriptor", "image_px": 64, "max_slices": 64, "pooling": "mean", "seed": 0}
        return self._on_volume(file), {**how, "read": [READ]}

    def _embedding(self, file: Input) -> tuple[Inputs, Params]:
        return self._on_volume(file) | {"encoder": [self.made["encoder"]]}, {"read": READ}

    def _paged(self, *names: str) -> Inputs:
        found = []
        for key, page in pages.paged(
            [(i, {name: row[name] for name in names}) for i, row in enumerate(self.rows)]
        ).items():
            pages.write(self.store, key, page)
            found.append(Input(self.store.path(key), key))
        return {pages.STAGE: found}

    def _novelty(self, file: Input) -> tuple[Inputs, Params]:
        return self._paged("embedding"), {"new": [self.rows[-1]["embedding"]]}

    def _suggestions(self, file: Input) -> tuple[Inputs, Params]:
        return self._paged("embedding", "volume", "traits"), {"strategy": "guided", "covered": {}, "n": 4, "seed": 0}

    def _box(self) -> dict[str, Any]:
        box: dict[str, Any] = json.loads((self.made["volume"].path / "patches.json").read_text())[0]
        return box

    def _package(self, file: Input) -> tuple[Inputs, Params]:
        told = {"id": "s1", "distance": None, "reason": "", "volume_name": "v"}
        known = self._on_volume(file) | {"pseudo": [self.made["pseudo"]]}
        return known, {"read": READ, "box": self._box(), "suggestion": told}

    def _label(self, file: Input) -> tuple[Inputs, Params]:
        """The pseudo-label is taken as it is."""
        drawn = self.made["package"].path / "pseudo_label.tif"
        known = {
            "file": [Input(drawn, f"sha256:{hashlib.sha256(drawn.read_bytes()).hexdigest()}")],
            "package": [self.made["package"]],
            "volume": [self.made["volume"]],
        }
        return known, {"suggestion": "s1", "box": self._box(), "confirm_empty": False, "received": 1}


def digests(places: Places, key: str) -> dict[str, Any]:
    """What an artifact is made of: its files with their sums, and what it says of itself."""
    manifest = read_manifest(ArtifactStore(places.artifacts).path(key))
    return {"files": manifest.files, "result": manifest.result}
