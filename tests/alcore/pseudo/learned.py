"""Backends that need weights, with the smallest that their real code accepts: options by name, or why they cannot run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alcore.pseudo import packages
from tests.alcore.pseudo import tiny_sam

SHAPE = (3, 60, 68)
"""Of volumes for backends that take a second for each picture."""


def options(name: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Cheapest options of a backend, with its weights in `folder`; the test is skipped, with the install line, without it."""
    absent = packages.missing(name)
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: {packages.INSTALL[name]}")
    if name != "nnunet":
        tiny_sam.register(patch)
    if name == "cellsam":
        tiny_sam.register_cellsam(patch)
    return {"micro_sam": _micro_sam, "cellsam": _cellsam, "nnunet": _nnunet}[name](folder)


def _micro_sam(folder: Path) -> dict[str, Any]:
    files = tiny_sam.save_checkpoints(folder)
    return {
        "checkpoint": str(files["plain"]),
        "mode": "amg",
        "points_per_side": 2,
        "pred_iou": 0.1,
        "stability": 0.0,
        "min_size": 4,
    }


def _cellsam(folder: Path) -> dict[str, Any]:
    checkpoint, threshold = tiny_sam.save_cellsam(folder)
    return {"checkpoint": str(checkpoint), "bbox_threshold": threshold}


def _nnunet(folder: Path) -> dict[str, Any]:
    """A model that has learned a little: its masks have structure. Its directory and its voxel size are no options."""
    from alcore.nnunet import training
    from alcore.nnunet.plan import PlanRequest
    from alcore.run import QuietContext
    from tests.alcore.nnunet.nnunet_blobs import QUICK, SPACING, case

    for name in ("scratch", "out"):
        (folder / name).mkdir()
    ctx = QuietContext(folder / "scratch", folder / "cache")
    designed = training.design(PlanRequest("tiny", binning=(1, 1, 1)), [case(1)], ctx)
    training.train(designed, training.Mixture([case(1)]), QUICK, 0, None, folder / "out", ctx, {})
    return {"_model": folder / "out", "_voxel_um": SPACING, "min_voxels": 1}
