"""Stage novelty against a plain double loop in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.errors import PermanentError
from alcore.run import QuietContext, stage
from alcore.stage import Input


def run(folder: Path, pool: dict[str, np.ndarray[Any, Any]], new: list[str]) -> dict[str, Any]:
    inputs = []
    for key, rows in pool.items():
        (folder / key).mkdir(parents=True, exist_ok=True)
        np.save(folder / key / "embeddings.npy", rows)
        inputs.append(Input(folder / key, key))
    found: dict[str, Any] = stage("novelty").run(
        {"embedding": inputs}, {"new": new}, folder, QuietContext(folder, folder)
    )
    return found["novelty"]


def unit(n: int, seed: int) -> np.ndarray[Any, Any]:
    rows = np.random.default_rng(seed).normal(size=(n, 5))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_against_a_double_loop(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject) -> None:
    pool = {f"embedding-{i}": unit(n, i) for i, n in enumerate(sizes)}
    if len(sizes) > 1:
        pool["embedding-1"][0] = pool["embedding-0"][0]
    new = data.draw(st.permutations(sorted(pool)))[: data.draw(st.integers(1, len(pool)))]
    found = run(tmp_path_factory.mktemp("novelty"), pool, new)
    assert list(found) == new
    known = [key for key in pool if key not in new]
    for key in new:
        before = [(k, r, row) for k in known for r, row in enumerate(pool[k].astype(np.float64))]
        distances = [
            min((1 - float(row @ other) for _, _, other in before), default=None)
            for row in pool[key].astype(np.float64)
        ]
        if not before:
            assert found[key] == {"max": None, "median": None, "row": None, "nearest": None, "duplicates": 0}
        else:
            clipped = np.maximum(np.array(distances, np.float64), 0)
            assert found[key]["max"] == pytest.approx(clipped.max(), abs=1e-6)
            assert found[key]["median"] == pytest.approx(np.median(clipped), abs=1e-6)
            assert clipped[found[key]["row"]] == pytest.approx(clipped.max(), abs=1e-6)
            near = next(o for k, r, o in before if {"embedding": k, "row": r} == found[key]["nearest"])
            mine = pool[key][found[key]["row"]].astype(np.float64)
            assert 1 - float(mine @ near) == pytest.approx(clipped.max(), abs=1e-6)
            assert found[key]["duplicates"] == int((clipped < 1e-3).sum())
        known.append(key)


def test_what_is_not_there_or_cannot_be_compared_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="embedding-9 is not among"):
        run(tmp_path, {"embedding-0": unit(2, 0)}, ["embedding-9"])
    with pytest.raises(PermanentError, match="different lengths"):
        run(tmp_path, {"embedding-0": unit(2, 0), "embedding-1": unit(2, 1)[:, :3]}, ["embedding-1"])
