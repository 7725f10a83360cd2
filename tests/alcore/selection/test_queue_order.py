"""The order in which suggestions wait: follows what is covered, and moves nothing without a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.selection import Request, choose, in_order, reconsider
from alcore.selection.queue_order import STAYS
from tests.alcore.selection.pools import pool_of, unit

NONE = np.empty(0, np.int64)


def request(covered: list[int], **more: float) -> Request:
    return Request(8, np.array(covered, np.int64), NONE, seed=3, **more)


def order(pool, queue, others, strategy="coreset", **more):
    found = in_order(pool, request([*queue, *others], **more), queue, np.array(others, np.int64), strategy)
    return [int(q.position) for q in found]


def distances(rows: np.ndarray, covered: list[int]) -> np.ndarray:
    """Of every row to the nearest covered one, by brute force; 2 without any."""
    if not covered:
        return np.full(len(rows), 2.0)
    return np.min([[max(0.0, 1 - float(np.dot(r, rows[c]))) for c in covered] for r in rows], axis=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 5), st.integers(0, 9))
def test_every_place_is_nearly_the_best_and_a_second_look_moves_nothing(seed, n, n_others, answered):
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(n + n_others, 4)))
    pool = pool_of(rows)
    queue, others = list(rng.permutation(n)), list(range(n, n + n_others))
    found = order(pool, queue, others)
    assert sorted(found) == sorted(queue)
    for place, position in enumerate(found):
        far = distances(rows, [*others, *found[:place]])
        left = found[place:]
        assert far[position] >= STAYS * max(far[left]) - 1e-5
        before = [q for q in queue if q in left and queue.index(q) < queue.index(position)]
        assert all(far[q] <= STAYS * max(far[left]) + 1e-5 for q in before), "somebody was overtaken without a reason"
    assert order(pool, found, others) == found
    front = found[: min(answered, n)]  # these are answered one after the other
    assert order(pool, found[len(front) :], [*others, *front]) == found[len(front) :]


def test_what_the_labels_made_dull_goes_back_and_what_is_far_comes_to_the_front():
    rows = unit(np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.9, 0.3]], float))
    assert order(pool_of(rows), [1, 3, 2], [0]) == [3, 2, 1]
    found = in_order(pool_of(rows), request([0, 1, 2, 3]), [1, 3, 2], np.array([0]), "coreset")
    assert [int(q.nearest) for q in found] == [0, 3, 0]
    assert found[2].distance == pytest.approx(distances(rows, [0])[1], abs=1e-6)


def test_minutes_count_with_the_strategy_guided_alone():
    rows = unit(np.array([[1, 0, 0], [0, 1, 0], [0.3, 0, 1]], float))
    pool = pool_of(rows, n_objects=np.array([1, 99, 1]))
    cost = {"minutes_base": 1.0, "minutes_per_object": 1.0}
    assert order(pool, [1, 2], [0], "guided", **cost) == [2, 1]
    assert order(pool, [1, 2], [0], "coreset", **cost) == [1, 2]


@pytest.mark.parametrize("strategy", ["random", "foreground", "herding", "typiclust", "uncertainty"])
def test_what_others_chose_keeps_its_order(strategy):
    rows = unit(np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0]], float))
    assert order(pool_of(rows), [1, 2], [0], strategy) == [1, 2]


@pytest.mark.parametrize("strategy", ["guided", "coreset"])
def test_as_a_pool_grows_step_by_step_the_queue_keeps_most_of_its_order(strategy):
    """Eleven looks while a pool of the same kind grows tenfold and nobody answers: what stays keeps its place beside the others,
    and what is exchanged is little."""
    exchanged = moved = 0
    for seed in range(5):
        rows = unit(np.random.default_rng(seed).normal(size=(800, 12)))
        queue = [int(c.position) for c in choose(pool_of(rows[:80]), request([]), strategy).choices]
        size = 80.0
        while size < 800:
            size *= 1.25
            pool = pool_of(rows[: min(800, int(size))])
            found = reconsider(pool, request(queue), np.array(queue), strategy)
            gone = {int(p) for p, _ in found.taken_back}
            kept = [q for q in queue if q not in gone] + [int(c.position) for c in found.instead]
            new = order(pool, kept, [], strategy)
            exchanged += len(gone)
            moved += sum(
                a != b for a, b in zip([q for q in new if q in queue], [q for q in queue if q in new], strict=True)
            )
            queue = new
    assert exchanged <= 2  # of 40 that wait, each looked at eleven times
    assert moved <= 20
