"""The table of objects: block by block it equals skimage's table of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops_table

from alcore.arrays.blocking import layout
from alcore.arrays.object_table import ObjectTable
from alcore.types import VoxelSize


def table(ids: np.ndarray, image: np.ndarray, core: tuple[int, int, int]) -> ObjectTable:
    z, y, x = ids.shape
    made = ObjectTable(int(ids.max()), len(image))
    for box in layout((z, y, x), core):
        made.add(box, ids[box.slices], image[(slice(None), *box.slices)])
    return made


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    core=st.tuples(st.integers(1, 9), st.integers(2, 20), st.integers(2, 20)),
    channels=st.sampled_from([1, 3]),
    um=st.sampled_from([None, (0.05, 0.01, 0.02)]),
)
def test_blocks_equal_the_whole(seed: int, core: tuple[int, int, int], channels: int, um: VoxelSize | None) -> None:
    rng = np.random.default_rng(seed)
    ids, _ = ndimage.label(ndimage.gaussian_filter(rng.normal(size=(8, 19, 17)), 1) > 0.1)
    ids = ids.astype(np.uint32)
    image = rng.integers(0, 65536, (channels, *ids.shape), dtype=np.uint16)
    mine = table(ids, image, core).columns(um)
    names = ("label", "area", "centroid", "bbox", "intensity_mean")
    theirs = regionprops_table(
        ids.astype(np.int32), np.moveaxis(image, 0, -1), properties=names, spacing=um or (1, 1, 1)
    )
    assert (mine["id"] == theirs["label"]).all()
    np.testing.assert_allclose(mine["volume_um3" if um else "volume_voxels"], theirs["area"], rtol=1e-12)
    for axis, name in enumerate("zyx"):
        np.testing.assert_allclose(
            mine[f"centroid_{name}_{'um' if um else 'px'}"], theirs[f"centroid-{axis}"], rtol=1e-12, atol=1e-12
        )
        assert (mine[f"bbox_{name}0"] == theirs[f"bbox-{axis}"]).all()
        assert (mine[f"bbox_{name}1"] == theirs[f"bbox-{axis + 3}"]).all()
    for c in range(channels):
        mean = mine[f"mean_intensity_c{c}" if channels > 1 else "mean_intensity"]
        np.testing.assert_allclose(mean, theirs[f"intensity_mean-{c}"], rtol=1e-12)


def test_sizes_and_places_do_not_depend_on_the_blocks_at_all() -> None:
    rng = np.random.default_rng(1)
    ids, _ = ndimage.label(rng.random((9, 30, 30)) > 0.7)
    image = rng.normal(size=(1, *ids.shape)).astype(np.float32)
    one, many = (table(ids, image, core).columns((0.3, 0.1, 0.1)) for core in ((99, 99, 99), (2, 7, 11)))
    assert all((one[k] == many[k]).all() for k in one if not k.startswith("mean_intensity"))


def test_ids_far_apart_and_nothing_at_all() -> None:
    ids = np.zeros((2, 4, 4), np.uint32)
    assert all(v.size == 0 for v in table(ids, np.zeros((1, 2, 4, 4), np.uint8), (2, 4, 4)).columns(None).values())
    ids[0, 1, 1:3] = 3_000_000
    columns = table(ids, np.full((1, 2, 4, 4), 7, np.uint8), (1, 4, 4)).columns(None)
    assert columns["volume_voxels"][-1] == 2 and columns["mean_intensity"][-1] == pytest.approx(7)
    assert (columns["centroid_x_px"][-1], columns["bbox_x0"][-1], columns["bbox_x1"][-1]) == (1.5, 1, 3)
