"""The novelty stage against all distances: order of arrival, duplicates, the first volume, damage."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError, Preempted
from alcore.index import PoolIndex
from alcore.run import QuietContext, execute
from alcore.stage import Input
from tests.pages import written

DIM = 12
NOTHING = {"max": None, "median": None, "row": None, "nearest": None, "duplicates": 0}


def unit(seed: int, n: int, dim: int = DIM) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def embedding(store: ArtifactStore, name: str, rows: np.ndarray, encoder: str = "") -> Input:
    key = f"embedding-{name}"
    by = {"encoder": [Input(store.root, encoder)]} if encoder else {}
    store.create(key, "embedding", 1, {}, by, lambda out: np.save(out / "embeddings.npy", rows) or {"n": len(rows)})
    return Input(store.path(key), key)


def measured(store: ArtifactStore, ctx: QuietContext, items: list[Input], new: list[str]) -> dict:
    manifest = execute(
        "novelty",
        {"page": written(store, [{"embedding": i.key} for i in items])},
        {"new": [f"embedding-{n}" for n in new]},
        store,
        ctx,
    )
    return {key.removeprefix("embedding-"): value for key, value in manifest.result["novelty"].items()}


def test_figures_equal_all_distances_in_the_order_of_arrival(store, ctx):
    held = {"a": unit(1, 30), "b": unit(2, 20), "c": unit(3, 25), "d": unit(4, 5)}
    held["c"][:6] = held["b"][3]  # shown twice before, and among themselves
    held["d"][2] = held["c"][20]
    items = [embedding(store, name, rows) for name, rows in held.items()]
    found = measured(store, ctx, items, ["d", "b", "c"])
    assert list(found) == ["d", "b", "c"]
    for name, before in (("d", "a"), ("b", "ad"), ("c", "adb")):
        pool = np.concatenate([held[n] for n in before]).astype(np.float64)
        places = [(f"embedding-{n}", row) for n in before for row in range(len(held[n]))]
        distance = 1 - held[name].astype(np.float64) @ pool.T
        nearest = distance.min(axis=1)
        row = int(nearest.argmax())
        assert found[name]["row"] == row
        assert found[name]["max"] == pytest.approx(nearest[row], abs=1e-6)
        assert found[name]["median"] == pytest.approx(np.median(nearest), abs=1e-6)
        near = found[name]["nearest"]
        assert (near["embedding"], near["row"]) == places[int(distance[row].argmin())]
    assert [found[name]["duplicates"] for name in "dbc"] == [0, 0, 7], "d came before c, in which its copy is"


def test_the_first_volume_has_nothing_to_be_compared_with(store, ctx):
    items = [embedding(store, name, unit(i, 4)) for i, name in enumerate("ab")]
    found = measured(store, ctx, items, ["a", "b"])
    assert found["a"] == NOTHING and 0 < found["b"]["median"] <= found["b"]["max"]
    assert measured(store, ctx, items[:1], []) == {}
    assert measured(store, ctx, [], []) == {}


def test_a_volume_of_known_patches_is_not_new(store, ctx):
    rows = np.tile(unit(1, 1), (3000, 1))
    items = [embedding(store, "old", rows[:1]), embedding(store, "same", rows), embedding(store, "none", rows[:0])]
    found = measured(store, ctx, items, ["same", "none"])
    assert found["same"]["duplicates"] == 3000 and found["same"]["max"] == pytest.approx(0, abs=1e-6)
    assert found["none"] == NOTHING


def test_bad_input_is_one_clear_line(store, ctx):
    good, wide = embedding(store, "good", unit(1, 4)), embedding(store, "wide", unit(1, 4, DIM + 1))
    broken = unit(2, 4)
    broken[3] = np.nan
    nan, flat = embedding(store, "nan", broken), embedding(store, "flat", np.zeros(4, np.float32))
    with pytest.raises(PermanentError, match="embedding-gone is not among the embeddings"):
        measured(store, ctx, [good], ["gone"])
    for new in (["wide"], ["good"]):
        with pytest.raises(
            PermanentError, match=r"embedding-wide: embeddings are \(4, 13\)|embedding-good: .*expected"
        ):
            measured(store, ctx, [good, wide][:: 1 if new == ["wide"] else -1], new)
    for new in ("good", "nan"):
        with pytest.raises(PermanentError, match="embedding-nan: the embedding in row 3 is not finite"):
            measured(store, ctx, [good, nan], [new])
    with pytest.raises(PermanentError, match=r"embeddings\.npy: has shape \(4,\)"):
        measured(store, ctx, [flat, good], ["good"])
    (good.path / "embeddings.npy").chmod(0o640)
    (good.path / "embeddings.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(PermanentError, match=r"embeddings\.npy: not a readable array"):
        measured(store, ctx, [good], ["good"])


def test_it_stops_when_asked(store, ctx, monkeypatch):
    items = [embedding(store, name, unit(i, 4)) for i, name in enumerate("ab")]
    monkeypatch.setattr(QuietContext, "should_stop", lambda self: True)
    with pytest.raises(Preempted):
        measured(store, ctx, items, ["b"])


def test_more_volumes_than_a_process_may_open_files(store, ctx):
    held = {f"{n:03d}": unit(n, 4) for n in range(150)}
    items = [embedding(store, name, rows) for name, rows in held.items()]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        found = measured(store, ctx, items, ["149"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    pool = np.concatenate([held[f"{n:03d}"] for n in range(149)])
    assert found["149"]["max"] == pytest.approx((1 - held["149"] @ pool.T).min(axis=1).max(), abs=1e-6)


def test_the_pool_index_changes_no_answer(store, ctx, tmp_path):
    """It holds more than this job asks about, in another order, and not all of it; many rows are equal."""
    held = {name: unit(n, 20) for n, name in enumerate("abcde")}
    for name in "bcd":
        held[name][:10] = held["a"][:10]
    items = [embedding(store, name, rows, "encoder-1") for name, rows in held.items()]
    without = measured(store, ctx, items[:4], ["c"])
    index = PoolIndex("encoder-1", DIM)
    for name in "edcb":
        index.add(f"embedding-{name}", held[name])
    index.save(ctx.cache / "index")
    written = {p.name: p.read_bytes() for p in (ctx.cache / "index").iterdir()}
    again = ArtifactStore(tmp_path / "again")
    for item in items:
        again.path(item.key).parent.mkdir(parents=True, exist_ok=True)
        again.path(item.key).symlink_to(item.path)
    assert measured(again, ctx, items[:4], ["c"]) == without
    assert {p.name: p.read_bytes() for p in (ctx.cache / "index").iterdir()} == written
