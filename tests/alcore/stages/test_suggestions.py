"""The suggestions stage on real artifacts: continues from what is covered, survives a broken cache."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alcore.arrays.coreset import farthest_first
from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext, execute
from alcore.stage import Input

DIM = 16


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def clustered(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, DIM)) + 3 * rng.normal(size=(3, DIM))[rng.integers(0, 3, n)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embedding(store: ArtifactStore, name: str, rows: np.ndarray, encoder: str = "encoder-1") -> Input:
    key = f"embedding-{name}"
    inputs = {"encoder": [Input(store.root, encoder)]}
    store.create(key, "embedding", 1, {}, inputs, lambda out: np.save(out / "embeddings.npy", rows) or {"n": len(rows)})
    return Input(store.path(key), key)


def suggest(store: ArtifactStore, ctx: QuietContext, items: list[Input], **params: object) -> dict:
    given = {"covered": {}, "n": 5, "initial": 3, "seed": 11} | params
    return execute("suggestions", {"embedding": items}, given, store, ctx).result


def test_cold_start_then_farthest_first(store, ctx):
    a, b = clustered(1, 30), clustered(2, 20)
    items = [embedding(store, "a", a), embedding(store, "b", b)]
    result = suggest(store, ctx, items)
    assert (result["pool"], result["indexed"]) == (50, 50)
    assert [s["rank"] for s in result["suggestions"]] == [1, 2, 3, 4, 5]
    reasons = [s["reason"] for s in result["suggestions"]]
    assert reasons[1] == "random seed 2 of 3 (nothing is labelled yet)"
    assert reasons[3].startswith("farthest from everything labelled or queued: cosine distance ")
    assert reasons[3].endswith("of these suggestions")
    assert result["suggestions"][0]["distance"] is None
    expected = farthest_first(np.concatenate([a, b]), 5, [], np.random.default_rng(11))
    start = {"embedding-a": 0, "embedding-b": 30}
    assert [start[s["embedding"]] + s["row"] for s in result["suggestions"]] == [p.position for p in expected]
    for got, pick in zip(result["suggestions"][1:], expected[1:], strict=True):
        assert got["distance"] == pytest.approx(pick.distance)
        assert start[got["nearest"]["embedding"]] + got["nearest"]["row"] == pick.nearest


def test_it_continues_from_what_is_covered_and_never_repeats(store, ctx):
    items = [embedding(store, "a", clustered(1, 12)), embedding(store, "b", clustered(2, 9))]
    covered: dict[str, list[int]] = {}
    seen = set()
    while True:
        found = suggest(store, ctx, items, covered=covered, n=4)["suggestions"]
        if not found:
            break
        for s in found:
            assert (s["embedding"], s["row"]) not in seen
            assert covered == {} or "random" not in s["reason"]
            seen.add((s["embedding"], s["row"]))
        assert not covered or found[0]["reason"].endswith("to its nearest labelled or queued patch")
        covered = {key: sorted(row for k, row in seen if k == key) for key in {k for k, _ in seen}}
    assert len(seen) == 21


def test_new_volumes_are_added_and_lost_ones_leave(store, ctx):
    a, b, c = (embedding(store, name, clustered(i, 10)) for i, name in enumerate("abc"))
    assert "no pool index yet: built" in suggest(store, ctx, [a])["notes"]
    grown = suggest(store, ctx, [a, b, c])
    assert (grown["indexed"], grown["notes"]) == (30, [])
    shrunk = suggest(store, ctx, [c, b])
    assert (shrunk["indexed"], shrunk["notes"]) == (20, [])
    assert {s["embedding"] for s in shrunk["suggestions"]} <= {"embedding-b", "embedding-c"}


def test_a_broken_cache_changes_nothing_but_the_note(store, ctx):
    items = [embedding(store, "a", clustered(1, 25))]
    first = suggest(store, ctx, items, covered={"embedding-a": [0]})
    for path in (ctx.cache / "index").iterdir():
        path.write_bytes(b"\0" + path.read_bytes()[:100])
    again = suggest(store, ctx, items, covered={"embedding-a": [0]}, seed=12)
    assert again["suggestions"] == first["suggestions"]
    assert "rebuilt" in again["notes"][0]


def test_a_cache_that_cannot_be_written_is_only_a_note(store, ctx):
    ctx.cache.mkdir()
    (ctx.cache / "index").write_text("a file where the directory should be")
    result = suggest(store, ctx, [embedding(store, "a", clustered(1, 6))])
    assert len(result["suggestions"]) == 5
    assert any("could not be saved" in note for note in result["notes"])


def test_the_file_says_what_the_result_says(store, ctx):
    manifest = execute(
        "suggestions",
        {"embedding": [embedding(store, "a", clustered(1, 8))]},
        {"covered": {}, "n": 2, "initial": 3, "seed": 0},
        store,
        ctx,
    )
    assert json.loads((store.path(manifest.key) / "suggestions.json").read_text()) == manifest.result


def test_no_embeddings_no_suggestions(store, ctx):
    assert suggest(store, ctx, [])["suggestions"] == []


def test_bad_input_is_one_clear_line(store, ctx):
    good = embedding(store, "good", clustered(1, 5))
    nan = clustered(1, 5)
    nan[3] = np.nan
    with pytest.raises(PermanentError, match="embedding-nan: the embedding in row 3 is not finite"):
        suggest(store, ctx, [good, embedding(store, "nan", nan)])
    with pytest.raises(PermanentError, match="different encoders"):
        suggest(store, ctx, [good, embedding(store, "other", clustered(2, 5), encoder="encoder-2")])
    with pytest.raises(PermanentError, match="expected"):
        suggest(store, ctx, [good, embedding(store, "wide", np.eye(3, dtype=np.float32))])
    with pytest.raises(PermanentError, match="covered row 5 of embedding embedding-good"):
        suggest(store, ctx, [good], covered={"embedding-good": [5]})
    cut = embedding(store, "cut", clustered(3, 5))
    (cut.path / "embeddings.npy").chmod(0o640)
    (cut.path / "embeddings.npy").write_bytes((cut.path / "embeddings.npy").read_bytes()[:150])
    with pytest.raises(PermanentError, match=r"embeddings\.npy: not a readable array"):
        suggest(store, ctx, [good, cut])
