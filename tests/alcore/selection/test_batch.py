"""One batch: no overlap ever, the share of a volume, the control arm over many batches, near-duplicates, bounded draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.selection import STRATEGIES, Pool, Request, batch, choose
from alcore.selection.control import is_control
from alcore.selection.port import spread_evenly
from alcore.selection.spread import Room
from tests.alcore.selection.pools import clustered, pool_of, unit

NONE = np.empty(0, np.int64)
FREE = [name for name in STRATEGIES if name != "coreset"]


def overlapping(pool: Pool, a: int, b: int) -> bool:
    """Do two patches share a voxel? Counted voxel by voxel, as no code under test does."""
    if pool.volume[a] != pool.volume[b]:
        return False
    inside = [{(int(s) + i) for i in range(int(n))} for s, n in zip(pool.start[a], pool.shape[a], strict=True)]
    return all(
        inside[axis] & {int(pool.start[b][axis]) + i for i in range(int(pool.shape[b][axis]))} for axis in range(3)
    )


@pytest.mark.parametrize("strategy", FREE)
@given(
    n=st.integers(1, 60),
    volumes=st.integers(1, 4),
    ask=st.integers(1, 20),
    share=st.sampled_from([0.2, 0.5, 0.75, 1.0]),
    control_share=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_no_overlap_ever_and_the_share_of_a_volume(strategy, n, volumes, ask, share, control_share, seed):
    rng = np.random.default_rng(seed)
    pool = pool_of(
        clustered(n, rng),
        volumes,
        overlap=True,
        foreground=rng.random(n),
        entropy_fg=rng.random(n),
        blank=rng.random(n),
    )
    covered = rng.permutation(n)[: rng.integers(0, n + 1) // 3].astype(np.int64)
    request = Request(ask, covered, covered[:2], seed, control_share=control_share, volume_share=share, n_gated=3)
    found = choose(pool, request, strategy)
    picks = [int(c.position) for c in found.choices]
    broken = {int(f.position) for f in found.qc}
    assert len(set(picks)) == len(picks) <= ask
    assert not set(picks) & (set(covered.tolist()) | broken)
    for i, a in enumerate(picks):
        assert not any(overlapping(pool, a, b) for b in [*covered.tolist(), *picks[:i]])
    free = [
        p
        for p in range(n)
        if p not in broken | set(covered.tolist()) and not any(overlapping(pool, p, int(c)) for c in covered)
    ]
    counts = np.bincount(pool.volume[picks], minlength=volumes) if picks else np.zeros(volumes, int)
    if len({int(pool.volume[p]) for p in free}) > 1 and share < 1:
        assert counts.max() <= math.ceil(ask * share)
    if len(picks) < ask:  # nothing was left out that might have been chosen
        assert any("no more patches are eligible" in note for note in found.notes)
        cap = math.ceil(ask * share) if share < 1 and len({int(pool.volume[p]) for p in free}) > 1 else ask
        left = [
            p
            for p in free
            if p not in picks and counts[pool.volume[p]] < cap and not any(overlapping(pool, p, q) for q in picks)
        ]
        near = 1 - (pool.embeddings[left] @ pool.embeddings[covered].T) if left and len(covered) else np.ones((0, 1))
        assert len(left) == int((near.min(axis=1) <= batch.NEAR_DUPLICATE + 1e-6).sum()) if left else True


@given(share=st.integers(0, 99).map(lambda p: p / 100), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=40))
@settings(max_examples=100)
def test_the_control_share_holds_over_any_batches(share, sizes):
    arms = []
    for size in sizes:
        before = len(arms)
        arms += [is_control(before + i, share) for i in range(size)]
        assert abs(sum(arms) - len(arms) * share) < 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_controls_are_marked_in_their_turn_and_drawn_evenly(strategy):
    n = 16
    rng = np.random.default_rng(0)
    pool = pool_of(clustered(n, rng), foreground=np.where(np.arange(n) < 5, 0.9, 0.01), entropy_fg=rng.random(n))
    drawn = []
    for seed in range(80):
        found = choose(pool, Request(4, NONE, NONE, seed, control_share=0.5, n_before=2 * seed), strategy)
        assert [c.arm for c in found.choices] == ["selected", "control", "selected", "control"]
        drawn += [int(c.position) for c in found.choices if c.arm == "control"]
    counts = np.bincount(drawn, minlength=n)
    # none is favoured, and only the two that a strategy without chance always takes are out of reach
    assert counts.max() < 3 * 160 / n and (counts > 0).sum() >= n - 2


def test_a_control_is_not_chosen_by_its_looks():
    n = 120
    rng = np.random.default_rng(0)
    pool = pool_of(clustered(n, rng), foreground=np.where(np.arange(n) < 60, 0.9, 0.0))
    found = [
        int(c.position)
        for seed in range(200)
        for c in choose(pool, Request(4, NONE, NONE, seed, control_share=0.25), "guided").choices
        if c.arm == "control"
    ]
    assert len(found) == 200 and 0.37 < np.mean(np.array(found) < 60) < 0.6


def test_the_core_set_goes_on_as_if_the_control_arm_were_not_there():
    pool = pool_of(clustered(60, np.random.default_rng(1)))
    paper = [int(c.position) for c in choose(pool, Request(12, NONE, NONE, 3), "coreset").choices]
    mixed = choose(pool, Request(12, NONE, NONE, 3, control_share=0.25), "coreset").choices
    controls = {int(c.position) for c in mixed if c.arm == "control"}
    selected = [int(c.position) for c in mixed if c.arm == "selected"]
    assert len(controls) == 3 and selected == [p for p in paper if p not in controls][:9]


@pytest.mark.parametrize("strategy", FREE)
def test_near_duplicates_of_covered_patches_are_left_out(strategy):
    rng = np.random.default_rng(2)
    base = unit(rng.normal(size=(20, 16)))
    copies = unit(np.repeat(base[:4], 1000, axis=0) + 1e-4 * rng.normal(size=(4000, 16)))
    pool = pool_of(np.concatenate([base, copies]))
    found = choose(pool, Request(40, np.arange(4), np.arange(4), 1), strategy)
    assert found.duplicates == 4000
    assert {int(c.position) for c in found.choices} <= set(range(4, 20)) and found.choices


@pytest.mark.parametrize("strategy", FREE)
@pytest.mark.parametrize("control_share", [0.0, 0.5])
def test_a_batch_never_asks_about_the_same_twice(strategy, control_share):
    """Twenty different patches and 1,980 copies of them: each is asked about once, whoever chooses."""
    rng = np.random.default_rng(5)
    base = unit(rng.normal(size=(20, 16)))
    copies = unit(np.repeat(base, 99, axis=0) + 1e-4 * rng.normal(size=(1980, 16)))
    pool = pool_of(np.concatenate([base, copies]), foreground=rng.random(2000), entropy_fg=rng.random(2000))
    shows = np.concatenate([np.arange(20), np.repeat(np.arange(20), 99)])
    found = choose(pool, Request(8, NONE, NONE, 1, control_share=control_share, n_gated=20), strategy)
    assert len({int(shows[c.position]) for c in found.choices}) == 8 == len(found.choices)
    assert f"left out because a chosen patch shows the same: {8 * 99}" in found.notes
    everything = choose(pool, Request(100, NONE, NONE, 1, control_share=control_share, n_gated=20), strategy)
    assert sorted(int(shows[c.position]) for c in everything.choices) == list(range(20))
    assert "20 of 100 wanted: no more patches are eligible" in everything.notes


def test_the_paper_s_rule_leaves_no_copy_out():
    rows = np.tile(unit(np.random.default_rng(0).normal(size=(3, 16))), (4, 1))
    found = choose(pool_of(rows), Request(12, NONE, NONE, 1), "coreset")
    assert len(found.choices) == 12
    assert found.notes == []


def test_what_was_looked_at_is_told():
    rows = clustered(40, np.random.default_rng(3))
    assert choose(pool_of(rows), Request(3, np.arange(2), NONE, 1), "random").looked_at is None
    assert choose(pool_of(rows), Request(3, np.arange(2), NONE, 1), "coreset").looked_at.tolist() == []


def test_of_a_drawn_window_what_was_looked_at_is_told(monkeypatch):
    monkeypatch.setattr(batch, "WINDOW", 10)
    bad = np.arange(40) % 2 == 1
    pool = pool_of(clustered(40, np.random.default_rng(3)), blank=bad.astype(float))
    found = choose(pool, Request(3, np.arange(4), NONE, 1), "random")
    assert len(found.looked_at) == 4 + 10  # what is covered cannot be chosen anyway
    seen = set(found.looked_at.tolist())
    assert {0, 1, 2, 3} < seen
    assert {int(f.position) for f in found.qc} <= seen
    assert {int(c.position) for c in found.choices} <= seen


def test_a_large_pool_is_looked_at_in_fresh_draws(monkeypatch):
    monkeypatch.setattr(batch, "WINDOW", 50)
    pool = pool_of(clustered(600, np.random.default_rng(3)))
    reached = set()
    for n_before in range(0, 400, 10):
        found = choose(pool, Request(10, NONE, NONE, 1, n_before=n_before), "herding")
        assert found.notes == ["50 of 600 free patches were looked at, drawn at random"] and found.eligible == 50
        reached |= {int(c.position) for c in found.choices}
    assert len(reached) > 200 and max(reached) > 580 > 20 > min(reached)


def test_two_batches_do_not_favour_the_same_places():
    pool = pool_of(unit(np.random.default_rng(0).normal(size=(1000, 8))))
    first = choose(pool, Request(1, NONE, NONE, 7, n_before=0), "random").choices[0].position
    others = {choose(pool, Request(1, NONE, NONE, 7, n_before=i), "random").choices[0].position for i in range(1, 30)}
    assert len(others) > 25 and first not in others


def test_ranks_have_no_scale_and_leave_the_unknown_in_the_middle():
    assert spread_evenly(np.array([5.0, np.nan, 1e9, 5.0, -3.0])).tolist() == [0.5, 0.5, 1.0, 0.5, 0.0]
    assert spread_evenly(np.array([7.0])).tolist() == [0.5] and spread_evenly(np.array([])).tolist() == []


def test_bad_requests_and_pools_are_refused():
    rows = clustered(6, np.random.default_rng(0))
    pool = pool_of(rows)
    with pytest.raises(ValueError, match="strategy 'best' does not exist"):
        choose(pool, Request(1, NONE, NONE, 0), "best")
    for what in ("covered", "labelled"):
        with pytest.raises(ValueError, match=rf"{what} positions must be in 0\.\.5"):
            choose(
                pool, Request(**{"n": 1, "covered": NONE, "labelled": NONE, "seed": 0, what: np.array([6])}), "random"
            )
    with pytest.raises(ValueError, match="foreground has shape"):
        pool_of(rows, foreground=np.zeros(5))
    with pytest.raises(ValueError, match="traits \\['beauty'\\] do not exist"):
        pool_of(rows, beauty=np.zeros(6))
    with pytest.raises(ValueError, match="float32"):
        pool_of(rows.astype(np.float64))
    room = Room(pool, np.ones(6, bool))
    room.take(2)
    with pytest.raises(ValueError, match="position 2 is not free"):
        room.take(2)
    with pytest.raises(ValueError, match=r"below 1, got 1\.0"):
        is_control(0, 1.0)
