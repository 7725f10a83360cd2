"""Which slices are chosen, and that reading them in groups gives the same pixels as reading them one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alcore.arrays import normalise
from alcore.encoder import slices as cutting
from alcore.encoder.slices import Window
from alcore.types import Box, IntensityStats

STATS = (IntensityStats(100.0, 40.0, 0, 255, 5.0, 250.0), IntensityStats(90.0, 30.0, 0, 255, 5.0, 250.0))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    h, w = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return Window(draw(st.integers(0, 4)), draw(st.integers(0, 40 - h)), draw(st.integers(0, 50 - w)), h, w)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(wanted=st.lists(windows(), max_size=25), limit=st.integers(1, 4000))
def test_reading_in_groups(wanted: list[Window], limit: int, memory_volume: Callable[..., Any]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 40, 50)).astype(np.uint8)
    reader = memory_volume(image)
    got = list(cutting.read_windows(reader, wanted, STATS, limit))
    assert sorted(i for i, _ in got) == list(range(len(wanted)))
    assert [wanted[i].z for i, _ in got] == sorted(w.z for w in wanted)
    for i, pixels in got:
        w = wanted[i]
        box = (slice(None), slice(w.z, w.z + 1), slice(w.y, w.y + w.h), slice(w.x, w.x + w.w))
        np.testing.assert_array_equal(pixels, normalise.fixed(image[box], STATS)[:, 0])
    largest = max((w.h * w.w for w in wanted), default=0)
    assert all(b.shape[0] == 1 and 2 * b.voxels <= max(limit, 2 * largest) for b in reader.boxes)


@given(st.integers(0, 50), st.integers(1, 200), st.integers(1, 12))
def test_slices_of_a_patch_are_even(start: int, depth: int, most: int) -> None:
    z = [w.z for w in cutting.patch_windows(Box((start, 3, 4), (depth, 10, 20)), most)]
    assert len(set(z)) == len(z) == min(depth, most)
    assert all(start <= v < start + depth for v in z)
    gaps = np.diff(z)
    assert len(z) < 2 or gaps.max() - gaps.min() <= 1


@given(st.tuples(st.integers(1, 9), st.integers(1, 90), st.integers(1, 90)), st.integers(1, 60), st.integers(1, 30))
def test_training_windows_lie_inside(zyx: tuple[int, int, int], patch: int, count: int) -> None:
    found = cutting.training_windows(zyx, (patch, patch), count, np.random.default_rng(0))
    assert len(found) == count
    for w in found:
        assert 0 <= w.z < zyx[0]
        assert w.h == min(zyx[1], round(patch * cutting.CROP_MARGIN))
        assert w.w == min(zyx[2], round(patch * cutting.CROP_MARGIN))
        assert w.y >= 0 <= w.x
        assert w.y + w.h <= zyx[1]
        assert w.x + w.w <= zyx[2]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(1, 2000))
def test_shares(sizes: list[int], total: int) -> None:
    found = cutting.shares(sizes, total)
    assert min(found) >= 1
    assert all(abs(n - total * s / sum(sizes)) <= 1.01 for n, s in zip(found, sizes, strict=True))


@pytest.mark.parametrize(
    ("n_patches", "depth", "expected"),
    [(40, 16, 40), (16, 16, 32), (8, 16, 32), (1, 64, 32), (1, 1, 16), (3, 1, 48)],
)
def test_windows_of_the_self_test(n_patches: int, depth: int, expected: int) -> None:
    patches = [Box((0, 0, 32 * i), (depth, 32, 32)) for i in range(n_patches)]
    found = cutting.selftest_windows(patches, 32)
    assert len(found) == len(set(found)) == expected
    for patch in patches:
        z = sorted({w.z for w in found if patch.start[2] <= w.x < patch.stop[2]})
        assert all(b - a >= cutting.SELFTEST_GAP_PX - 1 for a, b in pairwise(z))


def test_the_self_test_sees_every_depth() -> None:
    """A layer of patches is not tested on one z alone, whose focus and noise they would all share."""
    found = cutting.selftest_windows([Box((0, 0, 32 * i), (16, 32, 32)) for i in range(40)], 32)
    assert len({w.z for w in found}) == 16
    assert np.bincount([w.z for w in found]).max() <= 4


def test_a_volume_without_room_is_mirrored(memory_volume: Callable[..., Any]) -> None:
    """A volume as small as one patch has no margin: the stored slice holds it whole, then its mirror image."""
    image = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 32)).astype(np.uint8)
    out = np.zeros((2, 1, 40, 40), np.float16)
    found = [Window(0, 0, 0, 32, 32), Window(1, 0, 0, 32, 32)]
    rows: list[int] = []

    def put(row: int, image: np.ndarray[Any, Any]) -> None:
        rows.append(row)
        out[row] = image

    cutting.fill_slices(put, memory_volume(image), found, STATS[:1], (32, 32), 32)
    expected = normalise.fixed(image, STATS[:1])[0].astype(np.float16)
    np.testing.assert_array_equal(out[:, 0, :32, :32], expected)
    np.testing.assert_array_equal(out[:, 0, :, 32:], out[:, 0, :, 24:32][:, :, ::-1])
    assert sorted(rows) == [0, 1]


def test_a_crop_is_a_piece_of_its_slice_perhaps_mirrored() -> None:
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(30, 2, 10, 10)).astype(np.float16)
    kinds = set()
    for crop, whole in zip(cutting.random_crops(stored, 8, rng), stored, strict=True):
        match = [
            (y, x, fy, fx)
            for y in range(3)
            for x in range(3)
            for fy in (1, -1)
            for fx in (1, -1)
            if np.array_equal(crop, whole[:, y : y + 8, x : x + 8][:, ::fy, ::fx])
        ]
        assert len(match) == 1
        kinds.add(match[0][2:])
    assert len(kinds) == 4
