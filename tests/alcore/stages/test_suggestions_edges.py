"""The suggestions stage with a broken cache, one patch, nonsense and bad input: one clear line, or the same answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alcore.artifact import ArtifactStore
from alcore.errors import PermanentError
from alcore.run import QuietContext
from alcore.stages import suggestions as stage_file
from tests.alcore.stages.suggestion_pool import DIM, STRATEGIES, Volume, clustered, places, suggest


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def test_a_broken_cache_changes_nothing_but_the_note(store, ctx):
    volumes = [Volume(store, "a", clustered(1, 25))]
    first = suggest(store, ctx, volumes, covered={"embedding-a": [0]})
    stage_file._kept.clear()
    for path in (ctx.cache / "index").iterdir():
        path.write_bytes(b"\0" + path.read_bytes()[:100])
    again = suggest(store, ctx, volumes, covered={"embedding-a": [0]}, seed=12)
    assert again["suggestions"] == first["suggestions"]
    assert "rebuilt" in again["notes"][0]


def test_an_index_of_another_encoder_is_replaced(store, ctx):
    suggest(store, ctx, [Volume(store, "old", clustered(1, 25), encoder="encoder-0")])
    result = suggest(store, ctx, [Volume(store, "new", clustered(2, 15))])
    assert result["indexed"] == 15 and {key for key, _ in places(result)} == {"embedding-new"}


def test_a_cache_that_cannot_be_written_is_only_a_note(store, ctx):
    ctx.cache.mkdir()
    (ctx.cache / "index").write_text("a file where the directory should be")
    result = suggest(store, ctx, [Volume(store, "a", clustered(1, 6))])
    assert len(result["suggestions"]) == 5
    assert any("could not be saved" in note for note in result["notes"])


def test_the_file_says_what_the_result_says(store, ctx):
    result = suggest(store, ctx, [Volume(store, "a", clustered(1, 8))], strategy="guided")
    (path,) = store.root.rglob("suggestions.json")
    assert json.loads(path.read_text()) == result


def test_no_embeddings_no_suggestions(store, ctx):
    assert suggest(store, ctx, [])["suggestions"] == []


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "rows", [np.eye(DIM, dtype=np.float32)[:1], np.tile(np.eye(DIM, dtype=np.float32)[:1], (300, 1))]
)
def test_one_patch_and_all_alike(strategy, rows, store, ctx):
    volume = Volume(store, "a", rows)
    result = suggest(store, ctx, [volume], strategy=strategy, n=4)
    wanted = min(4, len(rows)) if strategy == "coreset" else 1
    assert len(result["suggestions"]) == wanted == len(set(places(result)))
    told = [note for note in result["notes"] if "shows the same" in note]
    assert told == (
        [f"left out because a chosen patch shows the same: {len(rows) - 1}"]
        if wanted < len(rows) and wanted == 1
        else []
    )
    later = suggest(store, ctx, [volume], strategy=strategy, n=4, covered={volume.embedding.key: [0]})
    if strategy == "coreset":
        assert len(later["suggestions"]) == min(4, len(rows) - 1)
    else:
        assert later["suggestions"] == [] and later["duplicates"] == len(rows) - 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_labelled(strategy, store, ctx):
    volume = Volume(store, "a", clustered(1, 20))
    covered = {volume.embedding.key: list(range(20))}
    result = suggest(store, ctx, [volume], strategy=strategy, covered=covered, labelled=covered)
    assert result["suggestions"] == [] and result["eligible"] == 0


def test_unknown_and_senseless_traits_do_no_harm(store, ctx):
    n = 50
    nonsense = {name: np.full(n, np.nan, np.float32) for name in ("foreground", "border", "n_objects", "sharpness")}
    nonsense["contrast"] = np.full(n, np.inf, np.float32)
    nonsense["clipped"] = np.ones(n, np.float32)
    rows = clustered(1, n)
    plain = suggest(store, ctx, [Volume(store, "a", rows)], strategy="guided", n=12)
    same = suggest(store, ctx, [Volume(store, "b", rows).with_traits(**nonsense)], strategy="guided", n=12)
    assert [row for _, row in places(same)] == [row for _, row in places(plain)] and same["qc"] == []


def test_bad_input_is_one_clear_line(store, ctx):
    good = Volume(store, "good", clustered(1, 5))
    nan = clustered(1, 5)
    nan[3] = np.nan
    with pytest.raises(PermanentError, match="embedding-nan: the embedding in row 3 is not finite"):
        suggest(store, ctx, [good, Volume(store, "nan", nan)])
    with pytest.raises(PermanentError, match="different encoders"):
        suggest(store, ctx, [good, Volume(store, "other", clustered(2, 5), encoder="encoder-2")])
    with pytest.raises(PermanentError, match="expected"):
        suggest(store, ctx, [good, Volume(store, "wide", np.eye(3, dtype=np.float32))])
    for what in ("covered", "labelled"):
        with pytest.raises(PermanentError, match=f"{what} row 5 of embedding embedding-good"):
            suggest(store, ctx, [good], **{what: {"embedding-good": [5]}})
    with pytest.raises(PermanentError, match="covered row 0 of embedding embedding-gone"):
        suggest(store, ctx, [good], covered={"embedding-gone": [0]})
    with pytest.raises(PermanentError, match="strategy 'best' does not exist; known: guided, coreset"):
        suggest(store, ctx, [good], strategy="best")
    with pytest.raises(PermanentError, match=r"control share must be at least 0 and below 1, got 1\.5"):
        suggest(store, ctx, [good], control_share=1.5)
    with pytest.raises(PermanentError, match=r"minutes_base is -1\.0"):
        suggest(store, ctx, [good], minutes={"base": -1})
    short = Volume(store, "short", clustered(4, 5)).with_traits(foreground=np.zeros(4, np.float32))
    with pytest.raises(PermanentError, match=r"traits\.npz: foreground is \(4,\) float32, the volume has 5 patches"):
        suggest(store, ctx, [short])
    cut = Volume(store, "cut", clustered(3, 5))
    (cut.embedding.path / "embeddings.npy").chmod(0o640)
    (cut.embedding.path / "embeddings.npy").write_bytes((cut.embedding.path / "embeddings.npy").read_bytes()[:150])
    with pytest.raises(PermanentError, match=r"embeddings\.npy: not a readable array"):
        suggest(store, ctx, [good, cut])
