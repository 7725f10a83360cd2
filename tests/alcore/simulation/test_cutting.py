"""Test regions that no pool patch comes near, pools that are whole numbers of labels, budgets that double."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from alcore.arrays.tiling import tile
from alcore.errors import PermanentError
from alcore.simulation.cutting import LEAST_PATCHES, drawn_rows, patch_for, pool_size, splits
from alcore.simulation.settings import ExpertSettings, Settings, budgets_of, doubling

ZYX, PATCH = (30, 1024, 1024), (15, 64, 64)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(4, 40), st.integers(100, 900), st.integers(100, 900)),
    st.tuples(st.integers(2, 20), st.integers(12, 90), st.integers(12, 90)),
    st.sampled_from([None, 1, 2]),
    st.floats(0.05, 0.5),
    st.integers(0, 60),
)
def test_no_voxel_of_a_pool_is_within_the_gap_of_its_test_region(zyx, patch, axis, share, more) -> None:
    if any(p > n for p, n in zip(patch, zyx, strict=True)):
        return
    along = axis if axis is not None else (1 if zyx[1] > zyx[2] else 2)
    boxes = tile(zyx, patch)
    gap = max(b.shape[along] for b in boxes) + more
    try:
        found = splits(zyx, boxes, patch, axis, share, gap)
    except PermanentError:  # said in words: see below
        return
    tested = np.zeros(zyx[along], int)
    for split in found:
        low, high = split.region.start[along], split.region.stop[along]
        tested[low:high] += 1
        assert all(split.region.shape[a] == zyx[a] for a in range(3) if a != along)
        near = np.zeros(zyx[along], bool)
        near[max(0, low - gap) : high + gap] = True
        for row in split.rows:
            assert not near[boxes[row].start[along] : boxes[row].stop[along]].any()
        kept = set(split.rows.tolist())
        assert all(near[b.start[along] : b.stop[along]].any() for i, b in enumerate(boxes) if i not in kept)
    assert tested.max() == 1


def test_the_gap_is_a_patch_wide_unless_it_is_wider() -> None:
    boxes = tile(ZYX, PATCH)
    usual = splits(ZYX, boxes, PATCH, None, 0.25, None)
    assert [len(s.rows) for s in usual] == [352, 320, 320, 352]
    assert [s.region.start[2] for s in usual] == [0, 256, 512, 768]
    with pytest.raises(PermanentError, match="--gap of 63 is less than a patch"):
        splits(ZYX, boxes, PATCH, None, 0.25, 63)


def test_what_is_too_large_or_too_small_is_said_in_one_line() -> None:
    with pytest.raises(PermanentError, match=r"15 x 64 x 64 voxels .* is larger than the volume of 10 x 512 x 512"):
        splits((10, 512, 512), tile((10, 512, 512), PATCH), PATCH, None, 0.25, None)
    small = (15, 64, 200)
    with pytest.raises(PermanentError, match=r"too small: beside a test region and a gap of .* cut smaller ones"):
        splits(small, tile(small, PATCH), PATCH, None, 0.25, None)
    with pytest.raises(PermanentError, match=r"--pool-size 400: .* only 320 patches are left"):
        pool_size(splits(ZYX, tile(ZYX, PATCH), PATCH, None, 0.25, None), 400)


def test_pools_are_the_same_for_all_and_other_for_other_seeds() -> None:
    found = splits(ZYX, tile(ZYX, PATCH), PATCH, None, 0.25, None)
    n = pool_size(found, None)
    assert n == 256
    one, again, other = drawn_rows(found[1], 1, 0, n), drawn_rows(found[1], 1, 0, n), drawn_rows(found[1], 1, 1, n)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and len(set(one.tolist())) == n and set(one.tolist()) <= set(found[1].rows.tolist())
    assert (np.diff(one) > 0).all()


def test_budgets_double_up_to_all() -> None:
    assert doubling(256) == (0, 2, 4, 8, 16, 32, 64, 128, 256)
    assert doubling(48) == (0, 3, 6, 12, 24, 48)
    assert budgets_of(Settings(budgets=(4, 0)), 16) == (0, 4, 16)
    with pytest.raises(PermanentError, match="asks for 20 labels, but a pool has 16 patches"):
        budgets_of(Settings(budgets=(20,)), 16)


@pytest.mark.parametrize("zyx", [(30, 1024, 1024), (100, 100, 100), (1, 512, 700), (8, 40, 40)])
def test_a_patch_is_chosen_that_gives_enough_of_them_where_there_is_room(zyx) -> None:
    patch = patch_for(zyx)
    assert all(p <= n for p, n in zip(patch, zyx, strict=True))
    assert len(tile(zyx, patch)) >= LEAST_PATCHES or patch[1] <= 16


def test_settings_come_back_from_json_and_name_what_is_wrong() -> None:
    settings = Settings(patch_px=(8, 32, 32), budgets=(0, 4), expert=ExpertSettings(missed=0.1))
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.digest("a") != settings.digest("b") != Settings().digest("b")
    assert Settings(regions=1).digest() == Settings().digest() != Settings(test_share=0.2).digest()
    with pytest.raises(PermanentError, match="--label-noise is a chance"):
        ExpertSettings(label_noise=1.5)
    with pytest.raises(PermanentError, match="--boundary-jitter must be at least 0"):
        ExpertSettings(boundary_jitter_px=-1)
    with pytest.raises(PermanentError, match="--pool-size must be at least 1"):
        Settings(pool_size=0)
    with pytest.raises(PermanentError, match="--budgets must be different numbers"):
        Settings(budgets=(4, 4))
