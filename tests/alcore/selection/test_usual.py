"""What is usual in a volume, against a reckoning volume by volume; and that few looks at a volume do not blind the judgement."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from alcore.selection import Request, batch, choose, quality
from alcore.selection.usual import ASKED, LEAST, Usual, joined, of_pool, usual
from tests.alcore.selection.pools import clustered, pool_of

NONE = np.empty(0, np.int64)


def one_by_one(figures: dict[str, np.ndarray]) -> dict[str, float]:
    """`Usual` of one volume."""
    finite = {name: values[np.isfinite(values)].astype(np.float64) for name, values in figures.items()}
    found = {"size": float(len(figures["contrast"]))}
    for name in ("sharpness", "contrast"):
        known = finite[name][finite[name] > 0]
        enough = len(known) >= LEAST
        found[name] = float(np.median(known)) if enough else np.nan
        found[f"log_{name}"] = float(np.median(np.log(known))) if enough else np.nan
        spread = median_abs_deviation(np.log(known), scale=1 / 1.4826) if enough else np.nan
        found[f"{name}_spread"] = float(spread)
    for name, of in [("strength", "contrast"), ("clipped", "clipped"), ("foreground", "foreground")]:
        found[name] = float(np.median(finite[of])) if len(finite[of]) else np.nan
    return found


@given(sizes=st.lists(st.integers(0, 45), min_size=1, max_size=6), seed=st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_it_is_what_a_look_at_each_volume_finds(sizes, seed):
    rng = np.random.default_rng(seed)
    volume = np.repeat(np.arange(len(sizes)), sizes)
    odd = [np.nan, np.inf, -np.inf, 0.0, -1.0]
    figures = {
        name: np.where(rng.random(len(volume)) < 0.2, rng.choice(odd, len(volume)), rng.lognormal(0, 1, len(volume)))
        for name in ASKED
    }
    shuffled = rng.permutation(len(volume))
    found = usual(volume[shuffled], len(sizes), {name: values[shuffled] for name, values in figures.items()})
    for i in range(len(sizes)):
        expected = one_by_one({name: values[volume == i] for name, values in figures.items()})
        for field in fields(Usual):
            value = getattr(found, field.name)[i]
            assert value == pytest.approx(expected[field.name], rel=1e-12, nan_ok=True), (field.name, i)


def test_a_figure_that_nobody_took_is_unknown():
    found = usual(np.zeros(20, np.int64), 2, {"contrast": np.ones(20, np.float32)})
    assert found.size.tolist() == [20, 0]
    assert found.contrast[0] == 1
    assert np.isnan([found.sharpness[0], found.clipped[0], found.foreground[0], found.contrast[1]]).all()


def test_what_is_given_is_taken_and_says_the_same():
    rng = np.random.default_rng(0)
    traits = {name: rng.lognormal(0, 0.4, 300) for name in ASKED}
    pool = pool_of(clustered(300, rng), volumes=6, **traits)
    found, of = of_pool(pool)
    halves = [
        usual(of[part] - of[part][0], 3, {name: pool.trait(name)[part] for name in ASKED})
        for part in (slice(150), slice(150, 300))
    ]
    given_along = replace(pool, usual=joined(halves))
    for field in fields(Usual):
        np.testing.assert_array_equal(getattr(of_pool(given_along)[0], field.name), getattr(found, field.name))
    others = replace(pool, volume=1000 - 7 * pool.volume)  # any numbers do
    for pools in (given_along, others):
        said = quality.flaws(pools, np.arange(300), NONE, np.random.default_rng(1))
        assert said == quality.flaws(pool, np.arange(300), NONE, np.random.default_rng(1))


def test_a_broken_patch_is_seen_although_hardly_any_of_its_volume_is_looked_at(monkeypatch):
    """As in a draw of a very large pool: four patches of each volume."""
    monkeypatch.setattr(batch, "WINDOW", 240)
    rng = np.random.default_rng(1)
    n_volumes, n_each = 60, 40
    n = n_volumes * n_each
    # volumes differ as much as any faults do: only its own volume tells what is wrong with a patch
    level = np.repeat(rng.uniform(0.7, 9, n_volumes), n_each)
    contrast, sharpness = level * rng.lognormal(0, 0.1, n), level * rng.lognormal(0, 0.1, n)
    broken = (np.arange(n_volumes)[::2, None] * n_each + [7, 30]).ravel()  # a crack and a blur in every other one
    contrast[broken[::2]] *= 8
    contrast[broken[1::2]] *= 0.5
    sharpness[broken[1::2]] *= 0.1
    pool = pool_of(clustered(n, rng), volumes=n_volumes, contrast=contrast, sharpness=sharpness)
    hits = 0
    for seed in range(8):
        found = choose(pool, Request(4, NONE, NONE, seed), "guided")
        assert found.looked_at is not None
        expected = np.intersect1d(found.looked_at, broken)
        held = {int(flaw.position) for flaw in found.qc if "of its volume" in flaw.reason}
        assert held == set(expected.tolist())
        hits += len(held)
        assert not held & {int(c.position) for c in found.choices}
    assert hits > 30


def test_what_a_rule_finds_in_many_describes_the_volume_also_where_few_are_looked_at():
    rng = np.random.default_rng(2)
    n = 100
    often = np.arange(n) % 5 == 0
    pool = pool_of(clustered(n, rng), clipped=np.where(often, 0.5, 0.0))
    assert quality.flaws(pool, np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12]), NONE, rng) == []
