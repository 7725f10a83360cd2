"""Labelled images by name, and how each is cut: the pools that the evidence is measured on, played by `alcore.simulation`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alcore.simulation.pair import Pair, given
from alcore.simulation.pool import LabelledPool, Workshop
from alcore.simulation.settings import Settings


@dataclass(frozen=True)
class Image:
    """A labelled image and how it is cut. patch_px (z, y, x). voxel_um (z, y, x). axis: the one that test regions are cut
    along (1 = Y, 2 = X). test_share: of the image, in one region. pool_size: patches in a seed's pool."""

    name: str
    patch_px: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    axis: int
    test_share: float
    pool_size: int

    def settings(self, **more: Any) -> Settings:
        """Of a simulation on it."""
        return Settings(
            patch_px=self.patch_px,
            voxel_um=self.voxel_um,
            axis=self.axis,
            test_share=self.test_share,
            pool_size=self.pool_size,
            **more,
        )

    def pair(self, data: Path) -> Pair:
        """Its files."""
        folder = data / self.name
        return given([folder / "image.tif"], [folder / "labels.tif"])[0]


IMAGES: Mapping[str, Image] = {
    "sbem": Image("sbem_mito_z010-039", (15, 64, 64), (0.04, 0.0059, 0.0059), 2, 0.25, 256),
    "sbem-y": Image("sbem_mito_z010-039", (15, 64, 64), (0.04, 0.0059, 0.0059), 1, 0.25, 256),
    "sbem-128": Image("sbem_mito_z010-039", (15, 128, 128), (0.04, 0.0059, 0.0059), 2, 0.25, 48),
    "nuclei": Image("ovule_nuclei_1135", (20, 20, 20), (0.284, 0.127, 0.127), 2, 0.2, 48),
    "cells": Image("ovule_cells", (16, 16, 16), (0.235, 0.15, 0.15), 2, 0.25, 48),
    "fib": Image("fib_gala_train", (25, 20, 20), (0.01, 0.01, 0.01), 2, 0.2, 48),
}


def data_folder() -> Path:
    """$ALSCOPE_DATA, or shared/data beside the checkout."""
    named = os.environ.get("ALSCOPE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


def pool_of(image: Image, shop: Workshop, data: Path, **more: Any) -> LabelledPool:
    """The pool of an image, its stages made in `shop`. more: settings besides the cutting."""
    return LabelledPool(image.pair(data), image.settings(**more), shop)


def named(image: Image, name: str) -> Pair:
    """Its files under the name of the pool: `sbem` and `sbem-y` are cut from one image."""
    return replace(image.pair(data_folder()), name=name)
