"""A small labelled tissue on disk: 64 patches, four test regions, objects in each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alcore.arrays.synthetic import em_volume
from alcore.simulation.pair import Pair, given
from alcore.volumes.writers import write_image_tiff, write_labels_tiff

VOXEL_UM = (0.05, 0.02, 0.02)
ZYX = (6, 160, 160)


def write_tissue(folder: Path, seed: int = 0) -> Pair:
    """image.tif and labels.tif in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    image, labels = em_volume(ZYX, VOXEL_UM, np.random.default_rng(seed))
    write_image_tiff(folder / "image.tif", image[None], VOXEL_UM)
    write_labels_tiff(folder / "labels.tif", labels, ZYX, "uint16", VOXEL_UM)
    return given([folder / "image.tif"], [folder / "labels.tif"])[0]


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same for all tests of a file: none changes it."""
    return write_tissue(tmp_path_factory.mktemp("tissue"))
