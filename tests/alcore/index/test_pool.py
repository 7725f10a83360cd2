"""The pool index equals plain linear algebra through any mixture of additions, removals, saves and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.errors import PermanentError
from alcore.index import PoolIndex

DIM = 6


def unit(rng: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    rows = rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("save"), st.just(""), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32 - 1))
def test_any_history_equals_a_dictionary_of_arrays(tmp_path_factory, steps, seed):
    rng, directory = np.random.default_rng(seed), tmp_path_factory.mktemp("index")
    index, held = PoolIndex("e", DIM), {}
    for what, key, n in steps:
        if what == "add":
            rows = unit(rng, n)
            if held and rng.random() < 0.5:  # duplicates
                known = next(iter(held.values()))[:n]
                rows[: len(known)] = known
            index.add(key, rows)
            held.setdefault(key, rows)
        elif what == "remove":
            index.remove(key)
            held.pop(key, None)
        else:
            index.save(directory)
        if what == "restart":
            index, note = PoolIndex.load(directory, "e", DIM)
            assert note == ""
    assert index.counts == {key: len(rows) for key, rows in held.items()}
    order = sorted(held)
    pool = np.concatenate([np.empty((0, DIM), np.float32)] + [held[key] for key in order])
    np.testing.assert_array_equal(index.vectors(order), pool)
    np.testing.assert_array_equal(
        index.vectors(order[::-1]), np.concatenate([pool[:0], *(held[k] for k in order[::-1])])
    )
    queries = unit(rng, 3)
    similarity, numbers = index.nearest(queries, 5)
    assert similarity.shape == numbers.shape == (3, min(5, len(pool)))
    for q in range(3):
        true = np.sort(queries[q] @ pool.T)[::-1][:5] if len(pool) else []
        np.testing.assert_allclose(similarity[q], true, atol=1e-6)
        places = [index.where(number) for number in numbers[q]]
        assert len(set(places)) == len(places)
        for value, (key, row) in zip(similarity[q], places, strict=True):
            assert queries[q] @ held[key][row] == pytest.approx(value, abs=1e-6)


def test_adding_twice_changes_nothing():
    rng = np.random.default_rng(7)
    index, rows = PoolIndex("e", DIM), unit(rng, 4)
    index.add("a", rows)
    index.add("a", unit(rng, 4))
    np.testing.assert_array_equal(index.vectors(["a"]), rows)


def test_a_pool_in_the_order_of_the_file_is_not_copied(tmp_path):
    rng, index = np.random.default_rng(7), PoolIndex("e", DIM)
    for key in "abc":
        index.add(key, unit(rng, 5))
    index.save(tmp_path)
    whole = index.vectors("abc")
    assert not whole.flags.owndata and np.shares_memory(whole[5:10], index.vectors("b"))
    before = (index.vectors("ab").copy(), index.vectors("ba").copy())
    np.testing.assert_array_equal(before[0][:5], before[1][5:])
    whole[:] = 0  # whoever works on it in place changes no file
    np.testing.assert_array_equal(PoolIndex.load(tmp_path, "e", DIM)[0].vectors("ab"), before[0])


def test_bad_embeddings_and_queries_are_refused_by_name():
    index, rng = PoolIndex("e", DIM), np.random.default_rng(0)
    nan, long, zero = unit(rng, 4), unit(rng, 4), unit(rng, 4)
    nan[2, 1] = np.nan
    long[3] *= 2
    zero[1] = 0
    for rows, words in (
        (nan, "row 2 is not finite"),
        (long, "row 3 has length 2"),
        (zero, "row 1 has length 0"),
        (unit(rng, 4, DIM + 1), "expected"),
        (unit(rng, 4).astype(np.float64), "float32"),
    ):
        with pytest.raises(PermanentError, match=f"embedding-x: .*{words}"):
            index.add("embedding-x", rows)
    assert len(index) == 0
    for number in (-1, 0):
        with pytest.raises(KeyError, match="no embedding has the number"):
            index.where(number)
    with pytest.raises(ValueError, match=r"queries must be \(Q, 6\)"):
        index.nearest(unit(rng, 2, DIM + 1), 1)
    assert index.nearest(unit(rng, 2), 3)[0].shape == (2, 0)
