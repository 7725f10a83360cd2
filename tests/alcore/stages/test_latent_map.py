"""Stage latent_map: every patch has a place, alike ones near to each other; a growing pool keeps its map."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alcore.artifact import ArtifactStore, Manifest
from alcore.errors import PermanentError
from alcore.latent import among, project
from alcore.latent.projection import SMALL
from alcore.run import QuietContext, execute
from alcore.stage import Input
from tests.alcore.stages.suggestion_pool import DIM, Volume


def cluster(seed: int, centre: int, n: int) -> np.ndarray[Any, Any]:
    """Unit vectors close to one axis."""
    rows = np.random.default_rng(seed).normal(0, 0.1, (n, DIM))
    rows[:, centre] += 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Pool:
    def __init__(self, folder: Path) -> None:
        self.store, self.ctx = ArtifactStore(folder / "artifacts"), QuietContext(folder / "scratch", folder / "cache")
        self.volumes: list[Volume] = []

    def add(self, rows: np.ndarray[Any, Any]) -> Volume:
        self.volumes.append(Volume(self.store, f"{len(self.volumes)}", rows))
        return self.volumes[-1]

    def map(self, before: Manifest | None = None, volumes: list[Volume] | None = None) -> tuple[Manifest, Any]:
        shown = self.volumes if volumes is None else volumes
        inputs = {
            "embedding": [v.embedding for v in shown],
            "volume": [v.volume for v in shown],
            "before": [Input(self.store.path(before.key), before.key)] if before else [],
        }
        made = execute("latent_map", inputs, {"seed": 3, "encoder": "encoder-1"}, self.store, self.ctx)
        with np.load(self.store.path(made.key) / "map.npz") as stored:
            return made, dict(stored)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    made = Pool(tmp_path)
    for i in range(4):
        made.add(cluster(i, i % 2, 12))
    return made


def test_every_patch_has_a_place_and_alike_ones_lie_together(pool: Pool) -> None:
    made, found = pool.map()
    assert made.result["n"] == 48 and made.result["method"].startswith("t-SNE of 48 patches")
    assert found["xy"].shape == (48, 2) and np.isfinite(found["xy"]).all()
    assert [str(k) for k in found["keys"]] == [v.embedding.key for v in pool.volumes]
    assert found["of"].tolist() == [i for i in range(4) for _ in range(12)] and found["row"][12:15].tolist() == [
        0,
        1,
        2,
    ]
    assert found["start"][13].tolist() == [0, 0, 32] and found["shape"][13].tolist() == [8, 32, 32]
    group = found["of"] % 2
    distance = np.linalg.norm(found["xy"][:, None] - found["xy"][None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).all()
    assert np.ptp(found["xy"][:, 0]) >= np.ptp(found["xy"][:, 1]), "the longer side lies"


def test_a_small_pool_is_drawn_without_compiling_anything(tmp_path: Path) -> None:
    """In a fresh process with an empty cache: neither UMAP nor numba is imported, and it takes seconds, not minutes."""
    np.save(tmp_path / "rows.npy", np.concatenate([cluster(0, 0, 60), cluster(1, 1, 60)]))
    code = (
        "import sys, numpy as np; from alcore.latent import project; found = project(np.load(sys.argv[1]), 0)\n"
        "print(found.method); print(sorted({'umap', 'numba', 'pynndescent'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "rows.npy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["t-SNE of 120 patches, cosine distance", "[]"]


@pytest.mark.slow
def test_from_so_many_patches_on_the_map_is_the_papers_umap() -> None:
    rows = np.concatenate([cluster(i, i, SMALL // 2) for i in range(2)])
    assert project(rows, 0).method.startswith(f"UMAP of {SMALL} patches")
    assert project(rows[1:], 0).method.startswith("t-SNE")


def test_the_same_pool_gives_the_same_map_whatever_it_is_computed_after(pool: Pool, tmp_path: Path) -> None:
    _, found = pool.map()
    other = Pool(tmp_path / "other")
    for i in range(4):
        other.add(cluster(i, i % 2, 12))
    np.testing.assert_array_equal(other.map()[1]["xy"], found["xy"])


def test_a_growing_pool_keeps_its_places_and_new_patches_lie_among_those_like_them(pool: Pool) -> None:
    first, old = pool.map()
    pool.add(cluster(9, 1, 10))
    second, new = pool.map(first)
    np.testing.assert_array_equal(new["xy"][:48], old["xy"])
    assert second.result["n_placed"] == 10 and second.result["n_fitted"] == 48
    alike = old["xy"][old["of"] % 2 == 1]
    assert (new["xy"][48:] >= alike.min(axis=0)).all() and (new["xy"][48:] <= alike.max(axis=0)).all()
    third, _ = pool.map(second)
    assert third.result["n_placed"] == 0 and third.result["n_fitted"] == 48
    fewer, left = pool.map(second, pool.volumes[1:])
    np.testing.assert_array_equal(left["xy"], new["xy"][12:])
    assert fewer.result["n"] == 46


def test_a_pool_that_has_outgrown_its_map_gets_a_new_one(pool: Pool) -> None:
    first, _ = pool.map()
    for i in range(3):
        pool.add(cluster(20 + i, i, 12))
    made, _ = pool.map(first)
    assert made.result["n_placed"] == 0 and made.result["n_fitted"] == 84


def test_few_patches_are_shown_by_their_principal_components_and_none_by_none(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    made, found = pool.map()
    assert made.result["n"] == 0 and found["xy"].shape == (0, 2)
    rows = cluster(0, 0, 6)
    pool.add(rows)
    made, found = pool.map()
    assert "principal components" in made.result["method"]
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    spread = np.linalg.eigvalsh(centred.T @ centred)[::-1][:2]
    np.testing.assert_allclose((found["xy"].astype(np.float64) ** 2).sum(axis=0), spread, rtol=1e-4)
    alone = Pool(tmp_path / "alone")
    alone.add(cluster(1, 0, 1))
    assert alone.map()[1]["xy"].tolist() == [[0, 0]]


@pytest.mark.slow
def test_of_very_many_patches_a_sample_is_projected_and_the_rest_lies_among_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alcore.latent.projection.SMALL", 0)
    monkeypatch.setattr("alcore.latent.projection.MOST", 40)
    rows = np.concatenate([cluster(0, 0, 60), cluster(1, 1, 60)])
    found = project(rows, 5)
    assert found.method.startswith("UMAP of 40 of 120 patches") and np.isfinite(found.xy).all()
    left = found.xy[:60].mean(axis=0), found.xy[60:].mean(axis=0)
    own = np.linalg.norm(found.xy - np.repeat(left, 60, axis=0), axis=1)
    other = np.linalg.norm(found.xy - np.repeat(left[::-1], 60, axis=0), axis=1)
    assert (own < other).all()
    np.testing.assert_array_equal(project(rows, 5).xy, found.xy)


def test_a_new_patch_that_is_a_known_one_lies_upon_it() -> None:
    known = cluster(0, 0, 20)
    xy = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    np.testing.assert_allclose(among(known, xy, known[3:5].copy()), xy[3:5], atol=1e-2)


def test_it_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alcore.latent.projection.SMALL", 0)
    monkeypatch.setattr("alcore.latent.projection.MOST", 20)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        project(cluster(0, 0, 40), 1, stop=stop)


def test_what_does_not_fit_together_is_refused(pool: Pool) -> None:
    inputs = {"embedding": [v.embedding for v in pool.volumes], "volume": [pool.volumes[0].volume]}
    with pytest.raises(PermanentError, match="4 embeddings came with 1 volumes"):
        execute("latent_map", inputs, {"seed": 0}, pool.store, pool.ctx)
    wrong = Volume(pool.store, "wrong", np.eye(3, dtype=np.float32))
    with pytest.raises(PermanentError, match=r"\(3, 3\) float32, expected"):
        pool.map(volumes=[*pool.volumes, wrong])
    first, _ = pool.map()
    path = pool.store.path(first.key) / "map.npz"
    path.chmod(0o600)
    path.write_bytes(b"cut")
    pool.add(cluster(5, 0, 3))
    with pytest.raises(PermanentError, match="not a readable map"):
        pool.map(first)
