"""What is known of the patches of a page: kept, copied from page to page, and read anew when what was kept is damaged."""

from __future__ import annotations

import numpy as np
import pytest

from alcore import pages
from alcore.artifact import ArtifactStore
from alcore.run import QuietContext
from alcore.selection import blocks
from alcore.selection.assemble import GROWTH, Assembled, Memory, assemble
from alcore.selection.quality import RUN, largest
from tests.alcore.stages.suggestion_pool import Volume, clustered, paged


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def ctx(tmp_path):
    return QuietContext(scratch=tmp_path / "scratch", cache=tmp_path / "cache")


def volumes(store: ArtifactStore, n: int) -> list[Volume]:
    """Every second one with traits and a prediction."""
    made = [Volume(store, f"v{i}", clustered(i, 5 + i), flat=(i % 3,)) for i in range(n)]
    for i, volume in enumerate(made[::2]):
        rng = np.random.default_rng(i)
        size = 5 + 2 * i
        volume.with_traits(foreground=rng.random(size).astype(np.float32), blank=np.zeros(size, np.float32))
        volume.with_prediction(foreground=rng.random(size).astype(np.float32))
    return made


def same(one: Assembled, other: Assembled) -> None:
    assert one.keys == other.keys
    for name in ("firsts", "patches"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("embeddings", "volume", "start", "shape", "flat"):
        np.testing.assert_array_equal(getattr(one.pool, name), getattr(other.pool, name))
    for name in blocks.FIGURES:
        np.testing.assert_array_equal(one.pool.trait(name), other.pool.trait(name))


def test_warm_cold_and_without_anything_kept_the_pool_is_the_same(store, ctx, tmp_path):
    made, warm = volumes(store, 7), Memory()
    for some in (made[:3], made[:4], made[:7], made[1:6], made[:7]):
        found = assemble(paged(store, some), {}, ctx, warm)
        fresh = QuietContext(scratch=tmp_path, cache=tmp_path / f"cache-{len(list(tmp_path.iterdir()))}")
        same(found, assemble(paged(store, some), {}, fresh, Memory()))
        same(found, assemble(paged(store, some), {}, ctx, Memory()))


def test_of_a_new_page_only_what_is_new_is_read(store, ctx, monkeypatch):
    made, memory, read = volumes(store, 6), Memory(), []
    monkeypatch.setattr(
        blocks, "read", lambda page, row, one=blocks.read: read.append(row["embedding"]) or one(page, row)
    )
    assemble(paged(store, made[:5]), {}, ctx, memory)
    assert len(read) == 5
    assemble(paged(store, made), {}, ctx, memory)
    assert read[5:] == [made[5].embedding.key]
    made[1].with_prediction(foreground=np.ones(6, np.float32))
    found = assemble(paged(store, made), {}, ctx, memory)
    assert read[6:] == [made[1].embedding.key]
    assert (found.pool.trait("foreground")[5:11] == 1).all()
    del read[:]
    assemble(paged(store, made), {}, ctx, Memory())
    assert read == [], "another process finds all of it in the cache"
    assert len(list((ctx.cache / pages.BLOCKS).iterdir())) == 3, "what no page says any more is gone"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "none"])
def test_what_was_kept_is_read_anew_when_it_is_damaged(store, ctx, damage):
    made = volumes(store, 4)
    expected = assemble(paged(store, made), {}, ctx, Memory())
    for path in (ctx.cache / pages.BLOCKS).iterdir():
        text = bytearray(path.read_bytes())
        at = text.find(np.float32(expected.pool.trait("foreground")[0]).tobytes())
        text[max(at, 700)] ^= 1
        path.write_bytes({"cut": text[:900], "flipped": text, "empty": b"", "none": b"PK"}[damage])
    same(assemble(paged(store, made), {}, ctx, Memory()), expected)


def test_a_cache_that_cannot_be_written_is_only_a_note(store, ctx):
    ctx.cache.mkdir()
    (ctx.cache / pages.BLOCKS).write_text("a file where the folder should be")
    found = assemble(paged(store, volumes(store, 3)), {}, ctx, Memory())
    assert len(found.pool) == 5 + 6 + 7 and any("will be read again" in note for note in found.notes)


def test_where_the_file_has_gaps_new_rows_are_added_to_the_copy_and_no_older_pool_changes(store, ctx):
    rows = [clustered(i, 40 if i < 20 else 4) for i in range(31)]
    made, memory = [Volume(store, f"v{i}", some) for i, some in enumerate(rows)], Memory()
    assemble(paged(store, made[:20]), {}, ctx, memory)
    assert memory.matrix.room is None, "it is the mapped file"
    kept, copies = [], set()
    for n in range(20, 32):
        found = assemble(paged(store, [*made[:3], *made[4:n]]), {}, ctx, memory)  # one left
        kept.append((found.pool.embeddings, np.concatenate([*rows[:3], *rows[4:n]])))
        copies.add(id(memory.matrix.room))
        for pool, expected in kept:
            np.testing.assert_array_equal(pool, expected)
    assert memory.matrix.room is not None and len(copies) == 1, f"it has room for a {GROWTH}th more"


@pytest.mark.parametrize("m", [5, RUN * 2 + 1, 10 * RUN, 11 * RUN + 7, 1024])
def test_the_largest_are_those_of_a_sort(m):
    rng = np.random.default_rng(m)
    values = rng.normal(size=(50, m)).astype(np.float32)
    values[10:20] = np.round(values[10:20])  # many are equal
    values[3, :] = -np.inf
    values[4, 1:] = -np.inf
    for k in (1, 3, 5):
        np.testing.assert_array_equal(np.sort(largest(values, k), axis=1), np.sort(values, axis=1)[:, -k:])
