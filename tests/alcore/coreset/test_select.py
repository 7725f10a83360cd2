"""Every way of picking many gives the picks of the plain one, and the choice among them depends on the data alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alcore.arrays.coreset import farthest_first
from alcore.coreset import best_engine, choose, continue_from, frontier, select

ROOT = Path(__file__).resolve().parents[3]
DIM = 48


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def smooth(n: int, seed: int = 0) -> np.ndarray:
    """A spectrum that decays, as of embeddings."""
    return unit(np.random.default_rng(seed).normal(size=(n, DIM)) * np.exp(-np.arange(DIM) / 2.0))


def uniform(n: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, DIM)))


@pytest.mark.parametrize("rows", [smooth(6000), uniform(6000)], ids=["smooth", "uniform"])
@pytest.mark.parametrize("covered", [[], [17, 4000]])
@pytest.mark.parametrize("engine", ["auto", "plain", "dense", "bounds 16"])
def test_all_engines_pick_the_same(engine, covered, rows):
    expected = farthest_first(rows, 80, covered, np.random.default_rng(5), initial=4)
    assert select(rows, 80, covered, np.random.default_rng(5), initial=4, engine=engine, threads=2) == expected
    assert sum(pick.random for pick in expected) == (0 if covered else 4)


@pytest.mark.parametrize("engine", ["plain", "dense", "bounds 16"])
@pytest.mark.parametrize(
    ("n", "k", "n_covered"), [(0, 3, 0), (1, 3, 0), (1, 3, 1), (5, 9, 0), (5, 9, 2), (5, 0, 0), (5, 9, 5)]
)
def test_small_pools_and_more_than_there_is(engine, n, k, n_covered):
    rows = uniform(n) if n else np.empty((0, DIM), np.float32)
    covered = list(range(n_covered))
    picks = select(rows, k, covered, np.random.default_rng(0), engine=engine)
    assert picks == farthest_first(rows, k, covered, np.random.default_rng(0))
    assert len(picks) == min(k, n - n_covered)
    assert len({p.position for p in picks} | set(covered)) == len(picks) + n_covered


def test_the_choice_follows_size_and_data(monkeypatch):
    assert best_engine(smooth(5000), 100) == ("dense", None)
    monkeypatch.setattr(choose, "DENSE_BELOW", 5000)
    assert best_engine(uniform(20_000), 300) == ("dense", None)
    assert best_engine(uniform(6000), 300, device="cuda") == ("cuda", None)
    monkeypatch.setattr(choose, "PROJECTION_COST", 0.1)  # paid once, by a million rows and a thousand picks
    name, basis = best_engine(smooth(20_000), 300)
    assert name == "bounds 16"
    np.testing.assert_allclose(basis.T @ basis, np.eye(DIM), atol=1e-12)


def test_continuing_equals_one_run():
    rows = smooth(6000)
    whole = select(rows, 60, [3], np.random.default_rng(0), engine="dense")
    growing = frontier.Frontier(rows, [3])
    parts = [continue_from(growing, 20, np.random.default_rng(0)) for _ in range(3)]
    assert [pick for part in parts for pick in part] == whole


@pytest.mark.parametrize("engine", ["dense", "bounds 16"])
def test_rows_mapped_from_a_file_will_do(engine, tmp_path):
    rows = smooth(700)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = select(rows, 20, [], np.random.default_rng(0), engine=engine)
    assert select(mapped, 20, [], np.random.default_rng(0), engine=engine) == expected


@pytest.mark.parametrize("engine", ["auto", "plain", "dense"])
def test_unusable_rows_are_named(engine):
    rows = uniform(30)
    rows[[4, 9]] = 0
    with pytest.raises(ValueError, match="position 4 is not finite and of length one"):
        select(rows, 3, [], np.random.default_rng(0), engine=engine)
    with pytest.raises(ValueError, match="position"):
        select(uniform(30), 3, [30], np.random.default_rng(0), engine=engine)


def test_compiled_code_finds_a_place_where_nothing_can_be_written(tmp_path):
    """numba refuses to start where it has no folder for compiled code; a daemon without a home has none."""
    script = (
        "import pathlib, sys, numba\n"
        "real = pathlib.Path.mkdir\n"
        "def refuse(self, *a, **k):\n"
        "    raise PermissionError('read-only')\n"
        "pathlib.Path.mkdir = refuse\n"
        "import alcore.coreset.compiled\n"
        "pathlib.Path.mkdir = real\n"
        "print(numba.config.CACHE_DIR)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o077 == 0
