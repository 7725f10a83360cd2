"""Whatever chose a patch, its numbers go with it, and saying them changes no choice."""

from __future__ import annotations

import numpy as np
import pytest

from alcore.selection import STRATEGIES, Request, batch, choose
from tests.alcore.selection.pools import clustered, pool_of, unit

COVERED = np.array([3, 40], np.int64)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_and_the_control_arm_tell_the_same_figures(strategy: str) -> None:
    rng = np.random.default_rng(0)
    n_objects, unsure = rng.integers(0, 20, 60).astype(np.float32), rng.random(60).astype(np.float32)
    n_objects[::7] = np.nan
    pool = pool_of(clustered(60, rng), foreground=rng.random(60), n_objects=n_objects, entropy_fg=unsure)
    request = Request(9, COVERED, COVERED, 1, control_share=0.3, n_gated=20, minutes_base=2.0, minutes_per_object=0.5)
    found = choose(pool, request, strategy).choices
    assert {choice.arm for choice in found} == {"selected", "control"}
    usual = np.median(n_objects[np.isfinite(n_objects)])
    for choice in found:
        p = choice.position
        assert choice.why["foreground"] == pytest.approx(pool.traits["foreground"][p])
        assert choice.why["uncertainty"] == pytest.approx(unsure[p])
        objects = n_objects[p] if np.isfinite(n_objects[p]) else usual
        assert choice.why["minutes"] == pytest.approx(2 + 0.5 * objects, abs=0.8 if np.isnan(n_objects[p]) else 1e-4)
        assert 0 < choice.why["density"] <= 1


def test_density_says_who_is_typical() -> None:
    """Fifty patches alike and one on the other side."""
    rng = np.random.default_rng(1)
    rows = unit(np.concatenate([np.array([[1.0, 0, 0, 0]] * 50), [[-1.0, 0, 0, 0]]]) + rng.normal(0, 0.1, (51, 4)))
    found = choose(pool_of(rows), Request(51, np.empty(0, np.int64), np.empty(0, np.int64), 0), "coreset").choices
    density = {int(c.position): c.why["density"] for c in found}
    assert len(density) == 51
    assert density.pop(50) == pytest.approx(1 / 51, abs=1e-3)  # typical of itself alone
    alike = [float((rows[p] @ rows.T).mean()) for p in density]
    assert np.corrcoef(alike, list(density.values()))[0, 1] > 0.8
    assert min(density.values()) > 2 / 51


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_telling_changes_no_choice(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    pool = pool_of(clustered(60, rng), foreground=rng.random(60), entropy_fg=rng.random(60))
    request = Request(9, COVERED, COVERED, 4, control_share=0.2, n_gated=20)
    told = choose(pool, request, strategy).choices
    monkeypatch.setattr(batch, "explained", lambda pool, request, choices, rng: choices)
    silent = choose(pool, request, strategy).choices
    assert [(c.position, c.arm, c.reason, c.distance) for c in told] == [
        (c.position, c.arm, c.reason, c.distance) for c in silent
    ]


def test_nothing_chosen_nothing_told() -> None:
    pool = pool_of(clustered(2, np.random.default_rng(0)))
    everything = np.arange(2)
    assert choose(pool, Request(3, everything, everything, 0), "guided").choices == []
