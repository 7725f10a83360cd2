"""The QC list: what looks broken is named with its reason, and a wrong rule cannot empty the queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.selection import Pool, Request, choose, quality
from tests.alcore.selection.pools import clustered, pool_of, unit

NONE = np.empty(0, np.int64)
N = 120


def figures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "sharpness": rng.lognormal(0, 0.15, N),
        "contrast": rng.lognormal(0, 0.15, N),
        "clipped": rng.random(N) / 200,
        "blank": np.zeros(N),
    }


def flaws(pool: Pool, known: np.ndarray = NONE) -> dict[int, str]:
    found = quality.flaws(pool, np.setdiff1d(np.arange(len(pool)), known), known, np.random.default_rng(0))
    assert len({f.position for f in found}) == len(found)
    assert all(np.isfinite(f.score) and f.score >= 1 for f in found)
    return {int(f.position): f.reason for f in found}


def test_ordinary_patches_are_not_suspected():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert flaws(pool_of(clustered(N, rng), volumes=2, **figures(rng))) == {}


def test_every_fault_has_its_words():
    rng = np.random.default_rng(1)
    traits = figures(rng)
    traits["clipped"][3] = 0.45
    traits["sharpness"][14], traits["contrast"][14] = 0.1, 0.6
    traits["contrast"][25] = 6.0
    traits["contrast"][36] = 0.02
    traits["blank"][47] = 1.0
    traits["blank"][48] = 0.75
    flat = np.zeros(N, bool)
    flat[58] = True
    rows = unit(np.eye(32)[0] + 0.1 * rng.normal(size=(N, 32)))
    rows[69] = -rows[69]
    found = flaws(pool_of(rows, flat=flat, **traits))
    words = {
        3: "45% of its voxels are at the end of the range: charging or saturation",
        14: "of the usual sharpness of its volume: out of focus",
        25: "times the usual contrast of its volume: a fold, a crack or charging",
        36: "of the usual contrast of its volume: nearly empty",
        47: "it is blank",
        48: "75% of its slices are blank",
        58: "nothing in it varies",
        69: "unlike every other patch",
    }
    assert set(found) == set(words)
    for position, text in words.items():
        assert text in found[position]


@pytest.mark.parametrize("every", [4, 12, 40])
def test_signal_in_a_sparse_volume_is_no_fault(every):
    """Nuclei in a dark volume have many times the contrast of the background and are smoother than its noise."""
    rng = np.random.default_rng(2)
    bright = np.arange(N) % every == 0
    contrast = np.where(bright, rng.uniform(0.8, 1.8, N), rng.uniform(0.15, 0.3, N))
    sharpness = np.where(bright, rng.uniform(0.3, 0.4, N), rng.uniform(1, 2, N))
    clipped = np.where(bright, 0.3, 0.9)
    rows = clustered(N, rng)
    assert flaws(pool_of(rows, contrast=contrast, sharpness=sharpness, clipped=clipped)) == {}
    # where the background is noisy, what was found in the patches tells
    found = np.where(bright, 0.2, 0.0)
    assert flaws(pool_of(rows, contrast=4 * contrast, sharpness=sharpness, clipped=clipped, foreground=found)) == {}


def test_a_rare_structure_with_a_few_like_it_is_no_fault_and_a_lone_outlier_is():
    rng = np.random.default_rng(3)
    common = np.eye(32)[0] + 0.1 * rng.normal(size=(N, 32))
    rare = np.eye(32)[1] + 0.1 * rng.normal(size=(6, 32))
    lone = -np.eye(32)[:1]
    pool = pool_of(unit(np.concatenate([common, rare, lone])))
    assert list(flaws(pool)) == [N + 6]
    # once it was suggested, it is no longer judged, and those that look like it are not alone
    assert flaws(pool, known=np.array([N + 6])) == {}


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_wrong_rule_cannot_empty_the_queue(share):
    rng = np.random.default_rng(4)
    bad = rng.random(N) < share
    rows = clustered(N, rng)
    blank = quality.flaws(pool_of(rows, blank=bad.astype(float)), np.arange(N), NONE, rng)
    assert len(blank) == min(bad.sum(), math.floor(N * quality.MOST_SURE))
    clipped = pool_of(rows, clipped=np.where(bad, 0.9, 0.0))
    assert quality.flaws(clipped, np.arange(N), NONE, rng) == [], "what so many have describes the volume"
    few = pool_of(rows, clipped=np.where(np.arange(N) < 0.09 * N, 0.9, 0.0))
    assert len(quality.flaws(few, np.arange(N), NONE, rng)) == math.ceil(N * quality.MOST_JUDGED)


@pytest.mark.parametrize("n_flat", [70, 110, 120])
def test_what_does_not_vary_is_never_asked_about(n_flat):
    """However many they are; of the others the blank ones count for half at most."""
    rng = np.random.default_rng(7)
    flat = rng.permutation(N) < n_flat
    pool = pool_of(clustered(N, rng), flat=flat, blank=np.ones(N))
    found = quality.flaws(pool, np.arange(N), NONE, rng)
    held = {int(f.position) for f in found}
    assert set(np.flatnonzero(flat)) <= held
    assert len(held) == n_flat + (N - n_flat) // 2
    batch = choose(pool, Request(N, NONE, NONE, 1), "guided")
    assert not any(flat[c.position] for c in batch.choices)
    assert len(batch.choices) == N - len(held)
    told = [note for note in batch.notes if note.startswith("nothing varies")]
    assert len(told) == (n_flat == N)


@given(n=st.integers(0, 40), seed=st.integers(0, 99), kind=st.sampled_from(["nan", "inf", "zero", "equal", "mixed"]))
@settings(max_examples=60, deadline=None)
def test_senseless_figures_do_no_harm(n, seed, kind):
    rng = np.random.default_rng(seed)
    value = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "equal": 3.0}.get(kind)
    traits = {
        name: rng.choice([np.nan, np.inf, 0.0, -1.0, 5.0], n) if value is None else np.full(n, value)
        for name in ("sharpness", "contrast", "clipped")
    }
    found = quality.flaws(
        pool_of(clustered(n, rng) if n else np.zeros((0, 12), np.float32), **traits), np.arange(n), NONE, rng
    )
    assert len(found) <= (math.ceil(n * quality.MOST_JUDGED) if n > 1 else 0)
    assert all(np.isfinite(f.score) for f in found)


@pytest.mark.parametrize(("n_others", "k"), [(45, 2), (140, 5), (6, 1)])
def test_the_neighbour_distance_is_that_of_a_sort(n_others, k, monkeypatch):
    rng = np.random.default_rng(5)
    rows = clustered(150, rng)
    asked, others = np.arange(5, 30), np.arange(0, n_others)
    monkeypatch.setattr(quality, "REFERENCE", 13)
    found = quality.neighbour_distance(rows, asked, others, k)
    for position, distance in zip(asked, found, strict=True):
        expected = sorted(1 - float(rows[position] @ rows[o]) for o in others if o != position)
        assert distance == pytest.approx(expected[k - 1], abs=1e-6)


def test_a_rare_structure_that_a_sample_misses_is_confirmed_by_the_pool(monkeypatch):
    monkeypatch.setattr(quality, "REFERENCE", 40)
    rng = np.random.default_rng(6)
    common = np.eye(32)[0] + 0.1 * rng.normal(size=(600, 32))
    rare = np.eye(32)[1] + 0.1 * rng.normal(size=(8, 32))
    lone = -np.eye(32)[:1]
    assert list(flaws(pool_of(unit(np.concatenate([common, rare, lone]))))) == [608]
