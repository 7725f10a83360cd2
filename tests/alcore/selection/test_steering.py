"""Reasons to skip steer later choices; waiting suggestions give way only to what is clearly better."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.selection import Request, choose, reconsider
from alcore.selection.steering import MOST, alike, dulled, like_avoided
from tests.alcore.selection.pools import pool_of, unit

NONE = np.empty(0, np.int64)


def groups(sizes: list[int], seed: int = 0, spread: float = 0.05) -> np.ndarray:
    """Tight groups of embeddings far from each other, one along each axis."""
    rng = np.random.default_rng(seed)
    middles = np.repeat(np.eye(len(sizes), 16), sizes, axis=0)
    return unit(middles + spread * rng.normal(size=(sum(sizes), 16)))


def request(n: int, covered: list[int], **more: object) -> Request:
    arrays = {k: np.array(v, np.int64) if isinstance(v, list) else v for k, v in more.items()}
    return Request(n, np.array(covered, np.int64), arrays.pop("labelled", NONE), seed=3, **arrays)


# artefact, out of focus


def test_patches_like_a_broken_one_are_held_back_and_the_rest_is_not():
    embeddings = groups([8, 60, 60])  # eight are no rarity, and a twentieth of the pool is six
    found = choose(pool_of(embeddings), request(40, [0, 8, 68], labelled=[8, 68], avoid=[0]), "guided")
    held = {int(f.position): f.reason for f in found.qc if "skipped as broken" in f.reason}
    assert set(held) == set(range(1, 8))
    assert not set(range(8)) & {int(c.position) for c in found.choices}
    plain = choose(pool_of(embeddings), request(40, [0, 8, 68], labelled=[8, 68]), "guided")
    assert set(range(1, 8)) & {int(c.position) for c in plain.choices}


def test_one_word_about_one_patch_holds_back_a_few_at_most():
    """Everything is alike here; a twentieth goes, the most similar first, by brute force."""
    rows = groups([100])
    found = like_avoided(pool_of(rows), np.arange(1, 100), np.array([0]), NONE, near=2.0)
    distance = 1 - rows[1:] @ rows[0]
    assert {int(f.position) for f in found} == set(1 + np.argsort(distance)[: int(np.ceil(MOST * 99))])
    assert all(f.score >= 1 for f in found)


def test_what_is_more_like_a_labelled_patch_is_no_artefact():
    rows = groups([20, 20])
    near = alike(pool_of(rows))
    nearer = (1 - rows[2:20] @ rows[1]) < (1 - rows[2:20] @ rows[0])
    found = {int(f.position) for f in like_avoided(pool_of(rows), np.arange(2, 20), np.array([0]), np.array([1]), near)}
    assert not found & {2 + int(i) for i in np.flatnonzero(nearer)}


def test_the_core_set_of_the_paper_listens_to_nobody():
    rows = groups([5, 20])
    one = choose(pool_of(rows), request(8, [0, 5], avoid=[0]), "coreset")
    other = choose(pool_of(rows), request(8, [0, 5]), "coreset")
    assert [c.position for c in one.choices] == [c.position for c in other.choices]


# nothing here


def test_neighbours_of_a_patch_with_nothing_to_label_are_asked_about_less():
    """Two groups of equal content; in one of them somebody found nothing. Counted over many draws, against the same without."""
    rows = groups([60, 60])
    pool = pool_of(rows, foreground=np.full(120, 0.3))

    def share(nothing: list[int]) -> float:
        first = []
        for seed in range(60):
            asked = Request(1, np.array([0, 60]), NONE, seed=seed, n_before=seed, nothing=np.array(nothing, np.int64))
            first += [int(c.position) < 60 for c in choose(pool, asked, "foreground").choices]
        return float(np.mean(first))

    assert 0.35 < share([]) < 0.65
    assert share([0]) < 0.35  # a third of all draws does not look at the content


def test_what_is_expected_fades_with_the_distance_and_the_figures_shown_stay():
    rows = groups([10, 10])
    pool = pool_of(rows, foreground=np.full(20, 0.4), border=np.full(20, 0.1))
    quiet = dulled(pool, np.array([0]), near=0.1)
    assert quiet.worth is not None
    assert quiet.worth[0] == pytest.approx(0, abs=1e-5)
    assert (quiet.worth[10:] > 0.99).all()
    order = np.argsort(1 - rows @ rows[0])
    assert (np.diff(quiet.worth[order]) >= -1e-6).all()
    assert quiet.figure("foreground", 0) == pytest.approx(0.4)
    assert dulled(pool, NONE, near=0.1) is pool


# waiting suggestions


@pytest.mark.parametrize("strategy", ["guided", "coreset", "herding", "typiclust"])
def test_what_was_just_chosen_stays(strategy):
    """Without any change nothing is exchanged, for any pool and any strategy: no churn."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pool = pool_of(unit(rng.normal(size=(80, 8))), volumes=4)
        first = [int(c.position) for c in choose(pool, request(6, []), strategy).choices]
        found = reconsider(pool, request(6, first), np.array(first), strategy)
        assert (found.taken_back, found.instead) == ([], [])


def test_growing_a_pool_of_the_same_kind_exchanges_little():
    """Ten times the pool, from the same distribution: what waits is about as good as ever."""
    exchanged = 0
    for seed in range(10):
        rows = unit(np.random.default_rng(seed).normal(size=(800, 12)))
        first = [int(c.position) for c in choose(pool_of(rows[:80]), request(8, []), "guided").choices]
        exchanged += len(reconsider(pool_of(rows), request(8, first), np.array(first), "guided").taken_back)
    assert exchanged <= 8  # of 80


def test_what_the_labels_have_made_dull_gives_way_to_what_is_new():
    rows = groups([40, 40, 40, 40], spread=0.1)
    pool = pool_of(rows)
    waiting = np.array([0, 1, 2, 3])  # all of a kind that is labelled by now, beside kinds that nobody has seen
    found = reconsider(pool, request(4, [0, 1, 2, 3, 10, 11, 12], labelled=[10, 11, 12]), waiting, "coreset")
    gone = [int(p) for p, _ in found.taken_back]
    assert len(gone) == 2  # half at once
    assert set(gone) < {0, 1, 2, 3}
    assert len(found.instead) == 2
    assert {int(c.position) // 40 for c in found.instead} <= {1, 2, 3}
    assert all(c.distance is not None and c.distance > 0.5 for c in found.instead)


def test_copies_of_what_is_labelled_go_and_all_that_is_broken():
    rows = groups([30, 30])
    rows[1] = rows[40] = rows[0]
    flat = np.zeros(60, bool)
    flat[[3, 4, 5]] = True
    pool = pool_of(rows, flat=flat)
    found = reconsider(pool, request(5, [0, 1, 3, 4, 5, 50], labelled=[0]), np.array([1, 3, 4, 5, 50]), "guided")
    reasons = {int(p): why for p, why in found.taken_back}
    assert set(reasons) == {1, 3, 4, 5}
    assert "the same is labelled" in reasons[1]
    assert "constant" in reasons[4]
    replaced = {int(c.position) for c in found.instead}
    assert len(replaced) == 4
    assert not replaced & {0, 1, 3, 4, 5, 40, 50}


def test_only_the_guided_rule_weighs_minutes():
    """One waiting patch is as new as the others and has 100 objects: dear to the guided rule, like any other to the rest."""
    rng = np.random.default_rng(0)
    rows = unit(np.concatenate([np.eye(16)[:3], np.eye(16)[3:7], np.eye(16)[7:11]]) + 0.02 * rng.normal(size=(11, 16)))
    n_objects = np.ones(11)
    n_objects[3] = 100
    pool = pool_of(rows, n_objects=n_objects)
    asked = request(4, [0, 1, 2, 3, 4, 5, 6], labelled=[0, 1, 2], minutes_per_object=1.0)
    gone = {
        strategy: [int(p) for p, _ in reconsider(pool, asked, np.array([3, 4, 5, 6]), strategy).taken_back]
        for strategy in ("guided", "herding", "typiclust", "coreset")
    }
    assert gone == {"guided": [3], "herding": [], "typiclust": [], "coreset": []}


def farthest(rows: np.ndarray, have: list[int], n: int, never: set[int]) -> list[int]:
    """The first n of greedy k-center, but for those that are never asked for; brute force in float64."""
    exact, found = rows.astype(np.float64), []
    have = list(have)
    while len(found) < n:
        distance = 1 - (exact @ exact[have].T).max(axis=1)
        distance[have] = -1
        have.append(int(distance.argmax()))
        found += [have[-1]] if have[-1] not in never else []
    return found


def test_the_core_set_fills_a_place_by_its_rule_alone():
    """Overlapping boxes and copies of what waits are nothing to it, and what is kept counts as covered."""
    rng = np.random.default_rng(4)
    rows = unit(np.concatenate([groups([12]), rng.normal(size=(60, 16))]))
    rows[40] = rows[3]
    pool = pool_of(rows, overlap=True)
    waiting = [1, 2, 3, 20]
    found = reconsider(pool, request(4, [0, *waiting], labelled=[0]), np.array(waiting), "coreset")
    gone = [int(p) for p, _ in found.taken_back]
    assert len(gone) == 2
    kept = [w for w in waiting if w not in gone]
    assert [int(c.position) for c in found.instead] == farthest(rows, [0, *kept], 2, set(waiting))


def test_the_core_set_takes_no_copy_back_where_all_are_copies():
    rows = np.tile(np.eye(16, dtype=np.float32)[:1], (20, 1))
    waiting = np.array([17, 18, 19])
    assert reconsider(pool_of(rows), request(3, [0, 17, 18, 19], labelled=[0]), waiting, "coreset").taken_back == []
    others = reconsider(pool_of(rows), request(3, [0, 17, 18, 19], labelled=[0]), waiting, "guided")
    assert len(others.taken_back) == 3


@pytest.mark.parametrize("strategy", ["guided", "herding"])
def test_what_takes_a_place_overlaps_nothing_that_waited(strategy):
    """Dull patches wait, each between two new ones: whoever has begun with one meanwhile keeps it, and gets no other half of it."""
    exchanged = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rows = unit(rng.normal(size=(60, 16)))
        rows[:24:2] = groups([12], seed)
        waiting = [2, 4, 6, 8, 10, 12]
        asked = request(6, [0, *waiting], labelled=[0])
        found = reconsider(pool_of(rows, overlap=True), asked, np.array(waiting), strategy)
        exchanged += len(found.instead)
        assert len(found.instead) <= len(found.taken_back)
        assert all(abs(int(choice.position) - w) > 1 for choice in found.instead for w in waiting), "neighbours overlap"
    assert exchanged > 5


def test_what_takes_a_place_repeats_nothing_that_waited():
    """Two that are much alike wait, and a copy of one lies elsewhere: one of the two goes, and its copy does not come."""
    rows = np.eye(16)[[0, 1, 1, 1, 2]]
    rows[1, 3] = rows[3, 3] = 0.2
    pool = pool_of(unit(rows))
    found = reconsider(pool, request(2, [0, 2, 3], labelled=[0]), np.array([2, 3]), "herding")
    assert [int(c.position) for c in found.selection.choices] == [1, 4]
    assert [int(p) for p, _ in found.taken_back] == [3]
    assert [int(c.position) for c in found.instead] == [4]


def test_chance_is_never_outdone():
    pool = pool_of(groups([40, 40], spread=0.1))
    found = reconsider(pool, request(4, [0, 1, 2, 3, 10], labelled=[10]), np.array([0, 1, 2, 3]), "random")
    assert found.taken_back == []
