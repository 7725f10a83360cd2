"""A package on the desk of an annotator, as the stages make it, and the stage label to hand in what was drawn."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from alcore.artifact import ArtifactStore
from alcore.run import QuietContext, execute
from alcore.stage import Input
from alcore.types import Box
from alcore.volumes.store import create_labels
from alcore.volumes.writers import write_image_tiff

Labels = np.ndarray[Any, Any]
BOX = Box((2, 10, 20), (5, 40, 60))


class Desk:
    """A package on the desk of an annotator, with a pseudo-label of two objects."""

    def __init__(self, folder: Path, margin: tuple[int, int, int] = (0, 0, 0)) -> None:
        self.folder = folder
        self.store = ArtifactStore(folder / "artifacts")
        self.ctx = QuietContext(folder / "scratch", folder / "cache")
        self.image = np.random.default_rng(0).integers(0, 200, (1, 9, 70, 110)).astype(np.uint8)
        write_image_tiff(folder / "v.tif", self.image, (0.5, 0.1, 0.1))
        self.pseudo = np.zeros((5, 40, 60), np.uint32)
        self.pseudo[1:4, 5:20, 5:20] = 1
        self.pseudo[1:4, 25:35, 5:20] = 2
        whole = np.zeros((9, 70, 110), np.uint32)
        whole[BOX.slices] = self.pseudo
        (folder / "pseudo").mkdir()
        create_labels(folder / "pseudo" / "instances.zarr", whole.shape)[:] = whole
        source = [Input(folder / "v.tif", "file:1")]
        params = {"read": {}, "voxel_um": None, "patch": {"shape_px": [5, 40, 60]}, "fingerprint": None, "limit_gb": 1}
        volume = execute("volume", {"source": source}, params, self.store, self.ctx)
        self.sha256 = volume.result["sha256"]
        self.volume = [Input(self.store.path(volume.key), volume.key)]
        inputs = {"source": source, "volume": self.volume, "pseudo": [Input(folder / "pseudo", "pseudo-1")]}
        suggestion = {"id": "s-1", "distance": 0.1, "reason": "", "volume_name": "v.tif"}
        params = {"read": {}, "box": BOX.to_json(), "suggestion": suggestion, "margin": list(margin)}
        made = execute("package", inputs, params, self.store, self.ctx)
        self.package = [Input(self.store.path(made.key), made.key)]
        self.inbox = folder / "s-1.tif"

    def submit(
        self,
        key: str | None = None,
        confirm_empty: bool = False,
        file: Path | None = None,
        mask: Path | None = None,
        **said: Any,
    ) -> tuple[Path, dict[str, Any]]:
        """Run the stage on what lies in the inbox, or on another file. mask: of what was looked at."""
        file = file or self.inbox
        inputs = {
            "file": [Input(file, key or f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")],
            "seen": [] if mask is None else [Input(mask, f"sha256:{hashlib.sha256(mask.read_bytes()).hexdigest()}")],
            "package": self.package,
            "volume": self.volume,
        }
        params = {"suggestion": "s-1", "box": BOX.to_json(), "confirm_empty": confirm_empty, **said}
        made = execute("label", inputs, params, self.store, self.ctx)
        return self.store.path(made.key), made.result

    def save(self, labels: np.ndarray[Any, Any], **options: Any) -> None:
        tifffile.imwrite(self.inbox, labels, **{"photometric": "minisblack", **options})


def drawing() -> np.ndarray[Any, Any]:
    """Two objects with gaps in their ids."""
    labels = np.zeros((5, 40, 60), np.int64)
    labels[:, 4:12, 4:12] = 7
    labels[2:, 20:30, 30:50] = 300
    return labels


def in_image(labels: Labels) -> Labels:
    """The drawing in the frame of image.tif, with an object in the margin that counts nowhere."""
    whole = np.zeros((7, 60, 105), labels.dtype)
    whole[1:6, 10:50, 20:80] = labels
    whole[0, 0:5, 0:5] = 99
    return whole
