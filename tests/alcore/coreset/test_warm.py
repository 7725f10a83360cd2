"""A kept core-set answers as one that is built for the occasion."""

from __future__ import annotations

import numpy as np

from alcore.coreset import Frontier, Warm, continue_from


def unit(seed: int, n: int, dim: int = 16) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_it_follows_labels_withdrawals_and_growth_without_building_again():
    warm, parts, covered = Warm(), {"a": unit(0, 400), "b": unit(1, 30)}, [3, 17]
    for step in range(12):
        keys, rows = tuple(parts), np.concatenate(list(parts.values()))
        kept = warm.frontier(keys, rows, covered)
        assert set(kept.covered) == set(covered)
        picks = continue_from(kept, 5, np.random.default_rng(0))
        assert [p.position for p in picks] == [
            p.position for p in continue_from(Frontier(rows, covered), 5, np.random.default_rng(0))
        ]
        covered = [
            *covered[step % 2 :],
            *(p.position for p in picks[:2]),
        ]  # three are withdrawn again, and an older label
        if step % 4 == 3:
            parts[f"new {step}"] = unit(10 + step, 7)
    assert warm.built == 1


def test_it_builds_again_when_the_pool_is_another():
    warm, a, b = Warm(), unit(0, 50), unit(1, 40)
    both = np.concatenate([a, b])
    pools = [
        (("a",), a),
        (("a", "b"), both),  # nearly twice as large
        (("b", "a"), np.concatenate([b, a])),
        (("b",), b),
        (("b",), unit(1, 40, 8)),  # another encoder under an old name
    ]
    for n, (keys, rows) in enumerate(pools, start=1):
        assert warm.frontier(keys, rows, [1]).next() == Frontier(rows, [1]).next()
        assert warm.built == n
    warm.frontier(("b",), unit(1, 40, 8), [])
    assert warm.built == 5


def test_a_restart_with_many_labels_needs_no_pilot(monkeypatch):
    rows, asked = unit(0, 400), []
    monkeypatch.setattr("alcore.coreset.warm.best_engine", lambda *a: asked.append(a) or ("bounds 16", None))
    labels = list(range(0, 400, 4))
    restarted = Warm().frontier(("a",), rows, labels, k=8)
    assert not asked
    assert continue_from(restarted, 8, np.random.default_rng(0)) == continue_from(
        Frontier(rows, labels, "bounds 16"), 8, np.random.default_rng(0)
    )
    Warm().frontier(("a",), rows, [1], k=8)
    assert len(asked) == 1
