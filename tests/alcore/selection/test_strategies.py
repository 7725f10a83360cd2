"""Every strategy against an oracle of its own: brute force, frequencies, or a pool in which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.coreset import farthest_first
from alcore.selection import STRATEGIES, Pool, Request, choose, coverage, typiclust
from alcore.selection.foreground import AWARE, probabilities
from alcore.selection.guided import DRAWN, TRUSTED, draw_chances, drawn, trust
from alcore.selection.uncertainty import noisy_log
from tests.alcore.selection.pools import clustered, pool_of, unit

NONE = np.empty(0, np.int64)


def asked(n: int, covered: np.ndarray = NONE, **more: object) -> Request:
    return Request(**{"n": n, "covered": covered, "labelled": covered, "seed": 5} | more)


def positions(pool: Pool, request: Request, strategy: str) -> list[int]:
    return [int(c.position) for c in choose(pool, request, strategy).choices]


@given(
    n=st.integers(1, 60),
    k=st.integers(0, 12),
    n_covered=st.integers(0, 10),
    copies=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_coreset_is_farthest_first_on_the_whole_pool(n, k, n_covered, copies, seed):
    rng = np.random.default_rng(seed)
    rows = clustered(n, rng)
    if copies:
        rows[n // 2 :] = rows[: n - n // 2]
    covered = np.sort(rng.permutation(n)[:n_covered]).astype(np.int64)
    request = asked(k, covered, seed=seed, volume_share=0.1)
    pool = pool_of(rows, volumes=3, overlap=True, blank=np.ones(n))
    exact = rows.astype(np.float64)
    have = list(covered)
    expected = []
    if not have:
        expected = (
            [int(i) for i in np.random.default_rng(seed).choice(n, size=min(3, k, n), replace=False)] if k else []
        )
        have = list(expected)
    while len(expected) < min(k, n - len(covered)):
        similarity = np.array([[sum(a * b) for b in exact[have]] for a in exact]).max(axis=1)
        similarity[have] = np.inf
        best = farthest_of(similarity)
        assert best == farthest_first(rows, 1, have, np.random.default_rng(0))[0].position or copies
        expected.append(best)
        have.append(best)
    got = choose(pool, request, "coreset")
    assert got.qc == [] and got.duplicates == 0
    chosen = [int(c.position) for c in got.choices]
    if not copies:
        assert chosen == expected
    else:  # equal rows are one place: the distances must be those of the brute force
        assert len(chosen) == len(expected)
        np.testing.assert_allclose(
            radii(exact, list(covered), chosen), radii(exact, list(covered), expected), atol=1e-9
        )


def farthest_of(similarity: np.ndarray) -> int:
    return int(similarity.argmin())


def radii(rows: np.ndarray, covered: list[int], picks: list[int]) -> list[float]:
    """Distance of the farthest row after each pick, from the seeds on."""
    return [float((1 - (rows @ rows[[*covered, *picks[:i]]].T).max(axis=1)).max()) for i in range(3, len(picks) + 1)]


@given(n=st.integers(2, 70), k=st.integers(1, 8), n_covered=st.integers(0, 6), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_herding_is_brute_force_kernel_herding(n, k, n_covered, seed):
    rng = np.random.default_rng(seed)
    rows = clustered(n, rng)
    covered = np.sort(rng.permutation(n)[: min(n_covered, n - 1)]).astype(np.int64)
    pool, request = pool_of(rows), asked(k, covered, seed=seed)
    found = choose(pool, request, "herding")
    picks = [int(c.position) for c in found.choices]
    usable = np.setdiff1d(np.arange(n), [f.position for f in found.qc])
    # the bandwidth is a random estimate: the same stream gives the same one
    width = coverage.bandwidth(rows[usable], np.random.default_rng([seed, 0, len(covered), 0]))
    exact = rows.astype(np.float64)
    kernel = np.exp(-((exact[:, None] - exact[None]) ** 2).sum(axis=2) / width)
    have = [int(c) for c in covered]
    for pick in picks:
        best = kernel[:, have].max(axis=1) if have else np.zeros(n)
        gain = {c: np.maximum(kernel[:, c] - best, 0)[usable].mean() for c in usable if c not in have}
        assert gain[pick] >= max(gain.values()) - 1e-5
        have.append(pick)
    assert len(picks) == min(k, len(usable) - len(covered))


def test_herding_sees_a_large_pool_through_bounded_draws(monkeypatch):
    rng = np.random.default_rng(0)
    rows = clustered(3000, rng)
    exact = positions(pool_of(rows), asked(6), "herding")
    monkeypatch.setattr(coverage, "CANDIDATES", 500)
    monkeypatch.setattr(coverage, "REFERENCE", 400)
    drawn = positions(pool_of(rows), asked(6), "herding")
    everything = coverage.Coverage(rows, rows, coverage.bandwidth(rows, rng))

    def covered(picks):
        everything.best[:] = 0
        everything.cover(rows[picks])
        return float(everything.best.mean())

    chance = np.mean([covered(rng.choice(3000, 6, replace=False)) for _ in range(20)])
    assert covered(drawn) > covered(exact) - 0.25 * (covered(exact) - chance)
    assert len(positions(pool_of(rows), asked(3000), "herding")) == 3000, "draws go on until the pool is empty"


def test_foreground_is_drawn_in_proportion():
    rng = np.random.default_rng(1)
    n = 12
    foreground, border = rng.random(n) * 0.4, rng.random(n) * 0.1
    foreground[3] = border[3] = 0
    foreground[5] = np.nan
    pool = pool_of(unit(rng.normal(size=(n, 6))), foreground=foreground, border=border)
    counts = np.zeros(n)
    for seed in range(4000):
        counts[positions(pool, asked(1, seed=seed), "foreground")[0]] += 1
    weight = np.where(np.isnan(foreground), 0, foreground + border)
    weight[5] = weight[np.arange(n) != 5].mean()
    expected = AWARE * weight / weight.sum() + (1 - AWARE) / n
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs(counts / 4000 - expected) < 4.5 * error).all()
    assert probabilities(pool_of(pool.embeddings), np.arange(n)) == pytest.approx(np.full(n, 1 / n))
    nothing = pool_of(pool.embeddings, foreground=np.zeros(n))
    assert probabilities(nothing, np.arange(n)) == pytest.approx(np.full(n, 1 / n))


def test_random_is_even():
    n = 10
    pool = pool_of(unit(np.random.default_rng(0).normal(size=(n, 6))), foreground=np.arange(n) / n)
    counts = np.bincount([p for s in range(2000) for p in positions(pool, asked(2, seed=s), "random")], minlength=n)
    assert (np.abs(counts / 4000 - 0.1) < 4.5 * np.sqrt(0.09 / 4000)).all()


def test_typiclust_takes_the_middle_of_every_cluster():
    rng = np.random.default_rng(2)
    centres = unit(rng.normal(size=(5, 16)))
    sizes = [60, 50, 40, 30, 20]
    rows = unit(np.concatenate([c + 0.12 * rng.normal(size=(s, 16)) for c, s in zip(centres, sizes, strict=True)]))
    group = np.repeat(np.arange(5), sizes)
    picks = positions(pool_of(rows), asked(5), "typiclust")
    assert sorted(group[picks]) == [0, 1, 2, 3, 4]
    for pick in picks:
        inside = np.flatnonzero(group == group[pick])
        mean = [np.sort(np.linalg.norm(rows[inside] - rows[i], axis=1))[1:21].mean() for i in inside]
        assert np.argsort(mean).tolist().index(int(np.flatnonzero(inside == pick)[0])) < 3
    # a cluster with a label waits until the others have one
    have = np.flatnonzero(group == 0)[:2].astype(np.int64)
    assert set(group[positions(pool_of(rows), asked(3, have), "typiclust")]) <= {1, 2, 3, 4}


def test_typicality_and_the_order_of_clusters():
    dense = unit(np.concatenate([np.stack([np.ones(20), np.linspace(0, 0.1, 20)], axis=1), [[1, 1], [1, -1]]]))
    score = typiclust.typicality(dense)
    assert 5 <= score.argmax() <= 15 and set(score.argsort()[:2]) == {20, 21}
    distance = np.linalg.norm(dense[:, None].astype(np.float64) - dense[None], axis=2)
    mean = np.sort(distance, axis=1)[:, 1:12].mean(axis=1)
    np.testing.assert_allclose(score, 1 / (mean + 1e-5), rtol=1e-2)
    assert typiclust.typicality(dense[:1]).shape == (1,)
    labels, sizes = np.array([0, 1, 0, 0]), np.array([9, 50, 3, 12])
    assert typiclust.next_cluster(labels, sizes, [True] * 4) == 3
    assert typiclust.next_cluster(labels, sizes, [False, False, True, False]) == 2
    assert typiclust.next_cluster(labels, sizes, [False, True, True, False]) == 1


def test_uncertainty_is_stratified_and_its_noise_decays():
    n = 40
    rng = np.random.default_rng(3)
    rows = unit(rng.normal(size=(n, 8)))
    fg, bg = np.full(n, 0.1), np.full(n, 0.1)
    fg[:5], bg[35:] = 0.9, 0.9
    fg[20] = np.nan
    pool = pool_of(rows, entropy_fg=fg, entropy_bg=bg)
    picks = positions(pool, asked(10, n_gated=100_000), "uncertainty")
    assert {p < 5 for p in picks[::2]} == {True} and {p >= 35 for p in picks[1::2]} == {True}
    early = [positions(pool, asked(10, n_gated=1, seed=s), "uncertainty") for s in range(40)]
    hits = np.mean([[p < 5 or p >= 35 for p in found] for found in early])
    assert 0.3 < hits < 0.95, "with few labels chance has a say"
    # log score + Gumbel(0, 1 / beta) draws in proportion to score ** beta
    score = np.array([0.1, 0.2, 0.4], np.float32)
    for beta in (1.0, 3.0):
        won = np.bincount([int(noisy_log(score, beta, rng).argmax()) for _ in range(4000)], minlength=3) / 4000
        assert won == pytest.approx(score**beta / (score**beta).sum(), abs=0.035)
    unknown = pool_of(rows, entropy_fg=np.full(n, np.nan), entropy_bg=np.full(n, np.nan))
    assert sorted(positions(unknown, asked(n, n_gated=50), "uncertainty")) == list(range(n))
    assert all(c.random for c in choose(pool, asked(4), "uncertainty").choices), "no model, no uncertainty"


def test_guided_looks_at_content_then_at_the_model_and_at_the_clock():
    rng = np.random.default_rng(4)
    n = 200
    rows = unit(rng.normal(size=(n, 24)))
    labelled = np.arange(100, 103)

    def share(pool: Pool, wanted: np.ndarray, **more: object) -> float:
        """Of the patches that follow the first three labels, over many seeds."""
        picks = [p for s in range(12) for p in positions(pool, asked(8, labelled, seed=s, **more), "guided")]
        return float(np.mean(wanted[picks]))

    rich = np.arange(n) < 40
    foreground = np.where(rich, 0.3, 0.02) + rng.random(n) / 100
    plain = pool_of(rows, foreground=foreground)
    assert 0.4 < share(plain, rich) < 0.85, "mostly the rich fifth, and never nothing else"
    # the model is unsure where there is little foreground: with its labels its word counts more
    unsure = np.arange(n) >= 160
    doubt = np.where(unsure, 0.8, 0.1)
    known = pool_of(rows, foreground=foreground, entropy_fg=doubt, entropy_bg=doubt)
    assert share(known, unsure, n_gated=TRUSTED - 1) == share(known, unsure) < share(known, unsure, n_gated=5000)
    everybody = np.arange(n)
    chance = [
        draw_chances(known, everybody, asked(1, n_gated=labels))[unsure].sum() for labels in (0, TRUSTED, 60, 5000)
    ]
    assert sorted(chance) == chance and chance[0] < 0.12 < 0.25 < chance[-1]
    assert trust(0) == trust(TRUSTED - 1) == 0 < trust(TRUSTED) < trust(100) <= 0.75
    # patches that cost many times as much come later
    cheap = np.arange(n) % 2 == 1
    costly = pool_of(rows, foreground=np.full(n, 0.1), n_objects=np.where(cheap, 1.0, 30.0))
    assert share(costly, cheap, minutes_per_object=1.0) > 0.68 > 0.6 > share(costly, cheap)


def test_guided_begins_with_a_draw_by_content_and_needs_no_traits():
    rng = np.random.default_rng(8)
    rows = clustered(80, rng)
    few = np.arange(80) < 8
    rich = pool_of(rows, foreground=np.where(few, 0.9, 0.0), n_objects=np.where(few, 50.0, 0.0))
    request = [asked(1, seed=seed, minutes_per_object=1.0) for seed in range(200)]
    first = [positions(rich, r, "guided")[0] for r in request]
    share = float(probabilities(rich, np.arange(80))[few].sum())
    assert np.mean([few[p] for p in first]) == pytest.approx(share, abs=0.1), (
        "drawn by content alone, whatever it costs"
    )
    assert positions(pool_of(rows), asked(12), "guided") == positions(pool_of(rows), asked(12), "herding")


def test_candidates_are_a_weighted_draw_without_repetition():
    rng = np.random.default_rng(9)
    alive, chances = np.array([3, 5, 8, 9, 11, 20]), np.array([0.5, 0.0, 0.2, 0.1, 0.1, 0.1])
    draws = [drawn(alive, chances, DRAWN, rng) for _ in range(500)]
    assert all(len(set(d)) == DRAWN and set(d) <= set(alive) and 5 not in d for d in draws)
    assert np.mean([3 in d for d in draws]) > 0.9 > np.mean([20 in d for d in draws])
    assert drawn(alive[:2], chances[:2], DRAWN, rng).tolist() == [3, 5]


def test_guided_goes_for_the_common_before_the_odd():
    rng = np.random.default_rng(6)
    axes = np.eye(16)
    common = unit(axes[0] + 0.1 * rng.normal(size=(90, 16)))
    second = unit(axes[1] + 0.1 * rng.normal(size=(40, 16)))
    odd = unit(-axes[0][None] + 0.1 * rng.normal(size=(2, 16)))
    pool = pool_of(np.concatenate([common, second, odd]))
    first, then = positions(pool, asked(2), "guided")
    assert first < 90 and 90 <= then < 130, "what is covered is not asked again before something new"
    content = pool_of(pool.embeddings, foreground=rng.random(132))
    odd_ones = [p >= 130 for s in range(30) for p in positions(content, asked(6, seed=s), "guided")]
    assert np.mean(odd_ones) < 0.1, "an outlier is taken only when it is drawn"
    paper = positions(pool, asked(2, np.array([first])), "coreset")
    assert any(p >= 130 for p in paper), "greedy k-center goes for the outliers"


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(seed=st.integers(0, 50), n=st.integers(1, 80))
@settings(max_examples=8, deadline=None)
def test_the_same_question_has_the_same_answer(strategy, seed, n):
    rng = np.random.default_rng(seed)
    pool = pool_of(clustered(n, rng), volumes=2, foreground=rng.random(n), entropy_fg=rng.random(n))
    covered = rng.permutation(n)[: n // 4].astype(np.int64)
    request = asked(6, covered, seed=seed, control_share=0.3, volume_share=0.7, n_gated=9)
    first = choose(pool, request, strategy)
    again = choose(pool, request, strategy)
    assert first == again
    for choice in first.choices:
        assert choice.reason and "\n" not in choice.reason
        assert (choice.distance is None) == (choice.nearest is None)
        assert all(np.isfinite(v) for v in choice.why.values())
