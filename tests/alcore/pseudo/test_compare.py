"""Backends against labels of experts: the right one wins, one that cannot run says why, and the picture shows them all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alcore.errors import PermanentError
from alcore.pseudo.compare import GAP_PX, Candidate, compare
from alcore.volumes.writers import write_image_tiff, write_labels_tiff
from tests.alcore.pseudo.conftest import describe

Phantom = Any


def label_artifact(folder: Path, image: Any, truth: Any, voxel_um: tuple[float, float, float] | None = None) -> Path:
    """A label artifact with an image (Z, Y, X) and the expert's instances."""
    folder.mkdir(parents=True)
    write_image_tiff(folder / "image.tif", image[None], voxel_um, {})
    write_labels_tiff(folder / "label.tif", iter(truth), truth.shape, "uint16", voxel_um, {})
    about = {
        "box": {"start": [0, 0, 0], "shape": list(image.shape)},
        "stats": [asdict(s) for s in describe(image[None], voxel_um).stats],
        "voxel_um": voxel_um,
        "volume_sha256": folder.name,
    }
    (folder / "label.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def labels(tmp_path: Path, phantom: Phantom) -> list[Path]:
    made = []
    for seed in (0, 1):
        image, truth = phantom((16, 72, 80), seed=seed)
        made.append(label_artifact(tmp_path / f"label{seed}", image.clip(0, 255).astype(np.uint8), truth))
    return made


def test_the_right_polarity_wins_and_the_picture_shows_all(labels: list[Path], ctx: Any, tmp_path: Path) -> None:
    picture = tmp_path / "compare.png"
    right, wrong, absent = compare(
        labels,
        [
            Candidate("bright", "threshold", {"polarity": "bright"}),
            Candidate("dark", "threshold", {"polarity": "dark"}),
            Candidate("model", "nnunet"),
        ],
        ctx,
        picture,
    )
    assert right.scores is not None and wrong.scores is not None
    assert right.scores.f1 > 0.7 > wrong.scores.f1 and right.scores.n_true == wrong.scores.n_true
    assert right.n_patches == 2 and right.seconds > 0
    assert absent.scores is None and "needs a trained model" in absent.error
    assert Image.open(picture).size == (4 * 80 + 3 * GAP_PX, 72)
    fractions = [f for f, note in ctx.notes if ": patch" in note]
    assert fractions == sorted(fractions)


def test_no_labels_yet(ctx: Any) -> None:
    with pytest.raises(PermanentError, match="no accepted label to compare with yet"):
        compare([], [Candidate("threshold", "threshold")], ctx)
