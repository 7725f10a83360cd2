"""The pool index equals plain linear algebra through any mixture of additions, removals and restarts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.errors import PermanentError
from alcore.index import BINARY, SIDECAR, PoolIndex

DIM = 6


def unit(rng: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    rows = rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def filled(*sizes: int) -> tuple[PoolIndex, dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    index, held = PoolIndex("encoder-1", DIM), {}
    for i, n in enumerate(sizes):
        held[f"embedding-{i}"] = unit(rng, n)
        index.add(f"embedding-{i}", held[f"embedding-{i}"])
    return index, held


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32 - 1))
def test_any_history_equals_a_dictionary_of_arrays(tmp_path_factory, steps, seed):
    rng, directory = np.random.default_rng(seed), tmp_path_factory.mktemp("index")
    index, held = PoolIndex("e", DIM), {}
    for what, key, n in steps:
        if what == "add":
            rows = unit(rng, n)
            index.add(key, rows)
            held.setdefault(key, rows)
        elif what == "remove":
            index.remove(key)
            held.pop(key, None)
        else:
            index.save(directory)
            index, note = PoolIndex.load(directory, "e", DIM)
            assert note == ""
    assert index.counts == {key: len(rows) for key, rows in held.items()}
    order = sorted(held)
    pool = np.concatenate([np.empty((0, DIM), np.float32)] + [held[key] for key in order])
    np.testing.assert_array_equal(index.vectors(order), pool)
    places = [(key, row) for key in order for row in range(len(held[key]))]
    queries = unit(rng, 3)
    similarity, ids = index.nearest(queries, 5)
    assert similarity.shape == ids.shape == (3, min(5, len(pool)))
    for q in range(3):
        true = np.sort(queries[q] @ pool.T)[::-1][:5] if len(pool) else []
        np.testing.assert_allclose(similarity[q], true, atol=1e-6)
        for value, identifier in zip(similarity[q], ids[q], strict=True):
            assert queries[q] @ pool[places.index(index.where(identifier))] == pytest.approx(value, abs=1e-6)
    if len(pool):
        covered = rng.permutation(len(pool))[:4].tolist()
        np.testing.assert_allclose(
            index.nearest_of(pool, covered), (pool @ pool[covered].T).max(axis=1), atol=(DIM + 16) * 2.0**-24
        )


def test_adding_twice_changes_nothing():
    index, held = filled(4)
    index.add("embedding-0", unit(np.random.default_rng(1), 4))
    np.testing.assert_array_equal(index.vectors(["embedding-0"]), held["embedding-0"])


def damage_truncated(directory):
    (directory / BINARY).write_bytes((directory / BINARY).read_bytes()[:-5])


def damage_bit(directory):
    data = bytearray((directory / BINARY).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / BINARY).write_bytes(data)


def damage_binary_missing(directory):
    (directory / BINARY).unlink()


def damage_sidecar_text(directory):
    (directory / SIDECAR).write_text("{")


def damage_sidecar_shape(directory):
    (directory / SIDECAR).write_text("[1, 2]")


def damage_sidecar_key(directory):
    about = json.loads((directory / SIDECAR).read_text())
    del about["next_slot"]
    (directory / SIDECAR).write_text(json.dumps(about))


def damage_counts(directory):
    about = json.loads((directory / SIDECAR).read_text())
    about["embeddings"]["embedding-0"][1] += 1
    (directory / SIDECAR).write_text(json.dumps(about))


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_bit,
        damage_binary_missing,
        damage_sidecar_text,
        damage_sidecar_shape,
        damage_sidecar_key,
        damage_counts,
    ],
)
def test_a_damaged_index_is_rebuilt_and_said_so(tmp_path, damage):
    index, _ = filled(5, 3)
    index.save(tmp_path)
    damage(tmp_path)
    again, note = PoolIndex.load(tmp_path, "encoder-1", DIM)
    assert len(again) == 0
    assert "built" in note


def test_another_encoder_or_dimension_is_rebuilt(tmp_path):
    index, _ = filled(5)
    index.save(tmp_path)
    for encoder, dim, word in (("encoder-2", DIM, "encoder"), ("encoder-1", DIM + 1, "dim")):
        again, note = PoolIndex.load(tmp_path, encoder, dim)
        assert (len(again), again.dim) == (0, dim)
        assert word in note
    assert "no pool index yet" in PoolIndex.load(tmp_path / "nowhere", "encoder-1", DIM)[1]


def test_saving_leaves_no_temporary_file(tmp_path):
    index, _ = filled(5)
    index.save(tmp_path)
    index.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([BINARY, SIDECAR])


def test_bad_embeddings_are_refused_by_name():
    index, rng = PoolIndex("e", DIM), np.random.default_rng(0)
    nan, long = unit(rng, 4), unit(rng, 4)
    nan[2, 1] = np.nan
    long[3] *= 2
    for rows, words in (
        (nan, "row 2 is not finite"),
        (long, "row 3 has length 2"),
        (unit(rng, 4, DIM + 1), "expected"),
        (unit(rng, 4).astype(np.float64), "float32"),
    ):
        with pytest.raises(PermanentError, match=f"embedding-x: .*{words}"):
            index.add("embedding-x", rows)
    assert len(index) == 0
    with pytest.raises(KeyError):
        index.where(0)
