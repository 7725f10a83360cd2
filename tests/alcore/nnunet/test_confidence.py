"""Which pseudo-labelled patches teach: against confidences written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from alcore.errors import PermanentError
from alcore.nnunet import confidence
from alcore.stage import Input
from alcore.volumes.store import create_labels

PATCHES = [{"volume": 0, "start": [0, 0, x], "shape": [2, 8, 8]} for x in (0, 8, 16)]


@pytest.fixture
def pseudo(tmp_path: Path) -> Input:
    """Left: object 1 on 6 voxels, object 2 on 2. Middle: object 2 on one voxel. Right: nothing."""
    ids = np.zeros((2, 8, 24), np.uint32)
    ids[0, 0, :6], ids[1, 0, :2], ids[0, 5, 9] = 1, 2, 2
    create_labels(tmp_path / "instances.zarr", ids.shape)[:] = ids
    (tmp_path / "pseudo.json").write_text(json.dumps({"n_objects": 2, "confidence": [0.9, 0.3]}))
    return Input(tmp_path, "pseudo")


def test_a_patch_is_as_sure_as_the_voxels_of_its_objects(pseudo: Input) -> None:
    left, middle, right = confidence.of_patches([pseudo], PATCHES)
    assert (left, middle) == (pytest.approx((6 * 0.9 + 2 * 0.3) / 8), pytest.approx(0.3))
    assert math.isnan(right)


def test_unsure_patches_are_left_out_and_background_stays(pseudo: Input) -> None:
    assert confidence.sure_enough([pseudo], PATCHES, 0.0) == (PATCHES, 0)
    assert confidence.sure_enough([pseudo], PATCHES, 0.5) == ([PATCHES[0], PATCHES[2]], 1)
    with pytest.raises(PermanentError, match=r"pretrain_min_confidence = 0.8 \(the surest has 0.75\)"):
        confidence.sure_enough([pseudo], PATCHES, 0.8)


def test_a_backend_that_says_nothing_of_its_objects_is_believed(pseudo: Input) -> None:
    (pseudo.path / "pseudo.json").write_text(json.dumps({"n_objects": 2, "confidence": []}))
    assert confidence.sure_enough([pseudo], PATCHES, 0.9) == (PATCHES, 0)
