"""The least size of an object: in voxels, in um3, the stricter of both, and unknown voxel sizes."""

from __future__ import annotations

import pytest

from alcore.arrays.sizes import least_voxels, unmeasured

VOXEL_UM = (0.05, 0.01, 0.01)  # 5e-6 um3


@pytest.mark.parametrize(
    ("min_voxels", "min_um3", "voxel_um", "expected"),
    [
        (None, 0.0, VOXEL_UM, None),
        (7, 0.0, VOXEL_UM, 7),
        (None, 5e-4, VOXEL_UM, 100),  # exactly a hundred voxels are enough
        (None, 5.01e-4, VOXEL_UM, 101),
        (150, 5e-4, VOXEL_UM, 150),
        (50, 5e-4, VOXEL_UM, 100),
        (None, 5e-4, None, None),
        (50, 5e-4, None, 50),
    ],
)
def test_the_stricter_limit_counts(min_voxels, min_um3, voxel_um, expected):
    assert least_voxels(min_voxels, min_um3, voxel_um) == expected


def test_a_limit_that_cannot_be_applied_is_said():
    assert not unmeasured(0.0, None) and not unmeasured(1.0, VOXEL_UM)
    (note,) = unmeasured(1.0, None)
    assert "min_object_um3 = 1" in note and "watch.voxel_um" in note
