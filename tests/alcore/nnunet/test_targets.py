"""The border of a plan: from voxel size and config, in the plane or in space; what cannot be is said."""

from __future__ import annotations

import pytest

from alcore.errors import PermanentError
from alcore.nnunet.plan import PlanRequest
from alcore.nnunet.targets import Border, border_for

ANISOTROPIC, ISOTROPIC = (0.04, 0.01, 0.01), (0.015, 0.01, 0.01)


@pytest.mark.parametrize(
    ("border_um", "voxel_um", "binning", "expected"),
    [
        (0.0, ANISOTROPIC, (1, 4, 4), Border(2.0, True)),
        (0.0, ISOTROPIC, (1, 1, 1), Border(2.0, False)),
        (0.0, None, (1, 2, 2), Border(2.0, False)),
        (0.06, ANISOTROPIC, (1, 2, 2), Border(3.0, True)),
        (0.03, ISOTROPIC, (1, 1, 1), Border(3.0, False)),
    ],
)
def test_the_border_of_a_plan(border_um, voxel_um, binning, expected):
    found = border_for("border-core", border_um, voxel_um, binning)
    assert found.in_plane == expected.in_plane and found.px == pytest.approx(expected.px)
    assert border_for("components", border_um, voxel_um, binning) is None
    assert Border.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("voxel_um", "words"), [(None, "voxel size .* unknown: set watch.voxel_um"), (ANISOTROPIC, "less than a pixel")]
)
def test_a_border_that_cannot_be_is_said(voxel_um, words):
    with pytest.raises(PermanentError, match=rf"training.border_um = 0.015 .*{words}"):
        border_for("border-core", 0.015, voxel_um, (1, 2, 2))


@pytest.mark.parametrize(("wrong", "word"), [({"instances": "rays"}, "rays"), ({"border_um": -1}, "border_um")])
def test_impossible_plans_are_named(wrong, word):
    with pytest.raises(PermanentError, match=word):
        PlanRequest.from_json({"name": "tiny", **wrong})
