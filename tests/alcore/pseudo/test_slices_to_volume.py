"""From objects of slices to objects of the volume: against micro_sam's own merging, and what windows and gaps do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from alcore.pseudo.closing import close, closed_mask
from alcore.pseudo.mosaic import Mosaic, in_raster_order, join
from alcore.pseudo.planes import Found
from alcore.pseudo.stack import Members, merged, numbered, overlaps

Image = np.ndarray[Any, Any]


def blobs(shape: tuple[int, int, int], seed: int, radius: float = 5.0, n: int = 12) -> Image:
    """Balls (Z, Y, X) int32 with ids 1..n that may touch."""
    rng = np.random.default_rng(seed)
    axes = np.stack(np.meshgrid(*(np.arange(k) for k in shape), indexing="ij"))
    out = np.zeros(shape, np.int32)
    for i in range(1, n + 1):
        centre = rng.uniform(0, 1, 3) * (np.array(shape) - 1)
        inside = sum(((axes[k] - centre[k]) * (2.0 if k == 0 else 1.0)) ** 2 for k in range(3)) <= radius**2
        out[inside & (out == 0)] = i
    return out


def split(volume: Image) -> list[Found]:
    """Every slice on its own: connected pieces of each ball, ids 1..n."""
    found = []
    for plane in volume:
        ids = np.zeros(plane.shape, np.uint32)
        for i in np.unique(plane[plane > 0]):
            pieces, _ = ndimage.label(plane == i)
            ids[pieces > 0] = pieces[pieces > 0] + ids.max()
        n = int(ids.max())
        found.append(Found(ids, np.linspace(0.2, 0.9, n).astype(np.float32)))
    return found


def stacked(found: list[Found]) -> Image:
    """(Z, Y, X) uint32 with ids that are unique over the stack, as micro_sam wants them."""
    out, offset = [], 0
    for f in found:
        out.append(np.where(f.ids > 0, f.ids + offset, 0))
        offset += len(f.confidence)
    return np.stack(out).astype(np.uint32)


def joined(found: list[Found]) -> Image:
    """The objects of the volume by the graph alone, two slices at a time."""
    starts = np.cumsum([0] + [len(f.confidence) for f in found])
    parts = [overlaps(a.ids, b.ids, rows=7) for a, b in itertools.pairwise(found)]
    pairs = np.concatenate([p + starts[[z, z + 1]] for z, (p, _) in enumerate(parts)])
    roots = merged(int(starts[-1]), pairs, np.concatenate([s for _, s in parts]))
    return roots[stacked(found)]


def same_partition(a: Image, b: Image) -> bool:
    """True when two labellings are equal but for the names of their ids, and share their background."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    one_to_one = len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    return one_to_one and np.array_equal(a > 0, b > 0)


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip(
        "micro_sam.multi_dimensional_segmentation",
        reason='pip install ".[micro-sam]" && pip install --no-deps "micro-sam==1.8.*"',
    )


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_the_graph_gives_what_micro_sam_gives_for_the_whole_stack(seed: int, gap: int, library: Any) -> None:
    volume = blobs((11, 40, 44), seed, n=25)
    if gap:  # detections flicker
        rng = np.random.default_rng(seed)
        for z in rng.choice(11, 4, replace=False):
            volume[z][np.isin(volume[z], rng.choice(25, 12) + 1)] = 0
    found = split(volume)
    theirs = library.merge_instance_segmentation_3d(stacked(found), gap_closing=gap or None, verbose=False)
    if gap:
        mask = [f.ids > 0 for f in found]
        found = [
            close(f, closed_mask(mask.__getitem__, z, 11, gap)) if gap <= z < 11 - gap else f
            for z, f in enumerate(found)
        ]
    assert same_partition(joined(found), theirs)


def test_a_gap_of_one_slice_is_closed_and_neighbours_stay_apart() -> None:
    volume = np.zeros((7, 20, 30), np.int32)
    volume[:, 4:10, 4:10], volume[:, 4:10, 10:16] = 1, 2
    volume[:, 14:18, 4:10] = 3
    volume[3, 14:18] = 0
    found = split(volume)
    mask = [f.ids > 0 for f in found]
    closed = [close(f, closed_mask(mask.__getitem__, z, 7, 1)) if 1 <= z < 6 else f for z, f in enumerate(found)]
    out = joined(closed)
    assert len(np.unique(out)) - 1 == 3
    assert len(np.unique(out[:, 15, 6])) == 1 and out[3, 15, 6] > 0
    assert out[3, 6, 6] != out[3, 6, 12]
    filled = closed[3].ids[15, 6]
    assert np.isnan(closed[3].confidence[filled - 1]), "nothing was seen there"


@given(depth=st.integers(1, 9), gap=st.integers(1, 3), z=st.integers(0, 8), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_closing_slice_by_slice_is_closing_the_whole(depth: int, gap: int, z: int, seed: int) -> None:
    z %= depth
    mask = np.random.default_rng(seed).random((depth, 4, 5)) < 0.4
    line = np.ones((3, 1, 1), bool)
    whole = ndimage.binary_closing(mask, line, iterations=gap)
    expected = whole[z] if gap <= z < depth - gap else mask[z]
    assert np.array_equal(closed_mask(lambda k: mask[k], z, depth, gap), expected)


@given(
    shape=st.tuples(st.integers(20, 120), st.integers(20, 120)),
    window=st.integers(32, 90),
    overlap=st.sampled_from([0, 8, 24]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_windows_joined_are_the_whole_plane(shape: tuple[int, int], window: int, overlap: int, seed: int) -> None:
    plane = blobs((1, *shape), seed, radius=7.0, n=15)[0]
    whole = split(plane[None])[0]
    mosaic = Mosaic.of(shape, window, overlap)
    assert all(max(w.shape[1:]) <= window for w in mosaic.windows)
    found = []
    for w in mosaic.windows:
        cut, old = in_raster_order(whole.ids[w.slices[1:]])
        found.append(Found(cut, whole.confidence[old - 1]))
    out = join(mosaic, found, 0.5)
    assert np.array_equal(np.unique(out.ids[out.ids > 0]), np.arange(1, len(out.confidence) + 1))
    if overlap:
        assert np.array_equal(out.ids, in_raster_order(whole.ids)[0])
        assert np.allclose(out.confidence, whole.confidence[in_raster_order(whole.ids)[1] - 1])
    else:
        assert np.array_equal(out.ids > 0, whole.ids > 0)


def test_objects_that_disagree_in_an_overlap_stay_two() -> None:
    mosaic = Mosaic.of((20, 60), 40, 20)
    assert len(mosaic.windows) == 2
    left, right = (np.zeros(w.shape[1:], np.uint32) for w in mosaic.windows)
    left[2:10, 22:40] = 1  # in the overlap, rows 2..10
    right[8:18, 0:15] = 1  # rows 8..18: two rows in common
    found = [Found(left, np.ones(1, np.float32)), Found(right, np.ones(1, np.float32))]
    assert len(join(mosaic, found, 0.5).confidence) == 2
    assert len(join(mosaic, found, 0.05).confidence) == 1


def test_numbers_follow_first_voxels_and_what_is_short_or_small_is_left_out() -> None:
    members = Members(
        z=np.array([0, 0, 0, 1, 1, 2]),
        voxels=np.array([0, 10, 30, 10, 2, 30]),
        first=np.array([99, 8, 5, 25, 30, 40]),
        confidence=np.array([np.nan, 0.5, 1.0, np.nan, 0.1, 0.2]),
    )
    roots = np.array([0, 1, 2, 1, 4, 2])
    everything = numbered(members, roots, 0, 0)
    assert everything.table.tolist() == [0, 2, 1, 2, 3, 1]
    assert everything.voxels.tolist() == [60, 20, 2] and everything.confidence == pytest.approx([0.6, 0.5, 0.1])
    assert numbered(members, roots, 2, 0).table.tolist() == [0, 2, 1, 2, 0, 1]
    assert numbered(members, roots, 3, 0).table.tolist() == [0, 0, 1, 0, 0, 1]
    assert numbered(members, roots, 0, 15).table.tolist() == [0, 2, 1, 2, 0, 1]
