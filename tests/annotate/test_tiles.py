"""Images wider than Segment Anything sees: the same tiles as micro_sam's, computed on demand or before, prompted in a real window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alcore.annotate.lazy import embeddings_for, parts_of
from alcore.annotate.order import Order, Weights
from alcore.annotate.patch import picture, read_patch
from alcore.annotate.sam import embed_slice, load_predictor, store_embeddings, stored_embeddings
from alcore.annotate.tiles import EDGE, HALO, TILE, tiles_of
from alcore.weights.places import digest
from tests.alcore.pseudo import tiny_sam
from tests.annotate.patches import suggestion

WIDE = (2, 48, 1100)


@pytest.mark.parametrize("shape", [(1025, 1), (1, 1025), (1100, 2000), (768 * 2, 1025), (1537, 1536), (3000, 900)])
def test_tiles_are_those_of_micro_sam(shape: tuple[int, int]) -> None:
    blocking = pytest.importorskip("bioimage_cpp.utils", reason="micro_sam is not installed").Blocking(
        [0, 0], shape, (TILE, TILE)
    )
    theirs = []
    for number in range(blocking.number_of_blocks):
        outer = blocking.get_block_with_halo(number, [HALO, HALO]).outer_block
        theirs.append(tuple(slice(a, b) for a, b in zip(outer.begin, outer.end, strict=True)))
    assert tiles_of(*shape) == theirs
    assert all(s.stop - s.start <= EDGE for tile in theirs for s in tile)


@pytest.mark.parametrize("shape", [(1024, 1024), (1, 1), (512, 544)])
def test_what_is_seen_as_it_is_has_no_tiles(shape: tuple[int, int]) -> None:
    assert tiles_of(*shape) == []
    planes = np.zeros((2, *shape), np.uint8)
    assert parts_of(planes)[0] is planes


@pytest.mark.parametrize("depth", [1, 2])
def test_embeddings_of_tiles_are_what_micro_sam_computes(
    depth: int, tiny_weights: Weights, tmp_path: Path, monkeypatch
) -> None:
    from micro_sam.util import precompute_image_embeddings

    tiny_sam.register(monkeypatch)
    planes = np.random.default_rng(0).integers(0, 255, (depth, *WIDE[1:])).astype(np.uint8)
    predictor, _ = load_predictor(tiny_weights, "cpu")
    view = planes[0] if depth == 1 else planes
    theirs = precompute_image_embeddings(
        predictor, view, ndim=view.ndim, tile_shape=(TILE, TILE), halo=(HALO, HALO), verbose=False
    )
    told: list[int] = []
    ours = embeddings_for(planes, None, lambda plane: embed_slice(predictor, plane), told.append, lambda z: None)
    assert theirs["input_size"] is None and ours["input_size"] is None and not told
    for name in ("shape", "tile_shape", "halo"):
        assert tuple(ours["features"].attrs[name]) == tuple(theirs["features"].attrs[name])
    for tile in ("0", "1"):
        a, b = ours["features"][tile], theirs["features"][tile]
        assert a.ndim == b.ndim and a.shape == b.shape
        for name in ("input_size", "original_size"):
            assert tuple(a.attrs[name]) == tuple(b.attrs[name])
        for z in range(depth):
            index = slice(None) if depth == 1 else z
            assert np.allclose(a[index], b[index], atol=1e-5)
    assert told == [z for _ in range(2) for z in range(depth)]
    views = [plane for part in parts_of(planes) for plane in part]
    store_embeddings(
        tmp_path, digest(Path(tiny_weights.files[0])), len(views), lambda i: embed_slice(predictor, views[i])
    )
    stored = stored_embeddings(tmp_path, tiny_weights, 2 * depth)
    ready = embeddings_for(planes, stored, pytest.fail, pytest.fail, pytest.fail)
    last = slice(None) if depth == 1 else depth - 1
    assert np.allclose(ready["features"]["1"][last], theirs["features"]["1"][last], atol=1e-5)


@pytest.mark.slow
def test_a_prompt_in_a_wide_image_draws_where_it_was_given(play, tmp_path: Path, tiny_weights: Weights) -> None:
    folder = suggestion(tmp_path / "queue" / "s00001", WIDE, margin=0)
    order = Order("s00001", str(folder), str(tmp_path / "work"), "ana", tiny_weights, reasons=("other",))
    played = play(order, "prompt_far_to_the_right")
    assert played.code == 0, played.log
    assert "in 2 parts" in played.seen["sam"] and "this part of slice 1" in played.seen["then"]
    first, last = played.seen["columns"]
    (_, columns) = tiles_of(*picture(read_patch(folder).image).shape[1:])[1]
    assert columns.start <= first <= last < columns.stop
    assert played.seen["slices"] == [1] and 1 in played.seen["all_slices"]  # a random model may stop at one slice
    assert played.outcome is not None and played.outcome.draft
