"""Search on a GPU, as far as that can be tried without one: faiss's GPU index is played by its index on the CPU."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from alcore.index import PoolIndex
from alcore.index.search import MOST_ON_GPU, Searcher


def unit(rng: np.random.Generator, n: int, dim: int = 12) -> np.ndarray:
    rows = rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exact(rng: np.random.Generator, n: int) -> np.ndarray:
    """Unit rows whose products are exact, however they are summed: with many ties."""
    rows = np.zeros((n, 12), np.float32)
    for row in rows:
        row[rng.choice(12, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return rows


class Played:
    """Stands for `faiss.GpuIndexFlatIP`: holds at most `room` rows, counts what it was given."""

    room = 10**9
    made: list[Played] = []  # noqa: RUF012

    def __init__(self, resources: Any, dim: int) -> None:
        self.index, self.given, self.searched = faiss.IndexFlatIP(dim), [], 0
        Played.made.append(self)

    def add(self, rows: np.ndarray) -> None:
        if self.index.ntotal + len(rows) > Played.room:
            raise RuntimeError(
                "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory: out of memory"
            )
        self.given.append(len(rows))
        self.index.add(rows)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.searched += 1
        products, numbers = self.index.search(queries, k)
        flipped = products[:, ::-1].argsort(axis=1, kind="stable")[:, ::-1]  # on ties it is free to give any order
        return np.take_along_axis(products[:, ::-1], flipped, 1), np.take_along_axis(numbers[:, ::-1], flipped, 1)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", Played)
    monkeypatch.setattr(Played, "room", 10**9)
    monkeypatch.setattr(Played, "made", [])
    return Played


def test_on_a_gpu_it_finds_what_it_finds_without_one(gpu):
    rows = exact(np.random.default_rng(0), 300)
    parts = [rows[:100], rows[100:100], rows[100:]]
    there, here = Searcher(parts, "cuda"), Searcher(parts, "cpu")
    assert there.on_gpu and not here.on_gpu
    for k in (1, 5, 300, 400):
        found, expected = there.nearest(rows[:40], k), here.nearest(rows[:40], k)
        if k >= 300:  # of ties at the end either may be among the k
            np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])
    assert gpu.made[0].given == [100, 200]
    assert gpu.made[0].searched == 4


def test_new_rows_are_added_to_what_is_there_and_a_removal_begins_anew(gpu):
    rng = np.random.default_rng(1)
    index, rows = PoolIndex("e", 12, "cuda"), {key: unit(rng, 20) for key in "abc"}
    index.add("a", rows["a"])
    index.nearest(rows["a"], 1)
    index.add("b", rows["b"])
    numbers = index.nearest(rows["b"], 1)[1]
    assert [index.where(n) for n in numbers[:, 0]] == [("b", i) for i in range(20)]
    assert [index.given for index in gpu.made] == [[20, 20]]
    index.remove("a")
    index.add("c", rows["c"])
    assert [index.where(n) for n in index.nearest(rows["c"], 1)[1][:, 0]] == [("c", i) for i in range(20)]
    assert [index.given for index in gpu.made] == [[20, 20], [20, 20]]


def test_a_gpu_without_room_is_done_without(gpu, monkeypatch):
    monkeypatch.setattr(Played, "room", 150)
    rows = unit(np.random.default_rng(2), 300)
    found = Searcher([rows[:100], rows[100:200], rows[200:]], "cuda")
    assert not found.on_gpu
    np.testing.assert_array_equal(found.nearest(rows, 1)[1][:, 0], np.arange(300))
    assert len(gpu.made) == 1


def test_more_neighbours_than_a_gpu_gives_are_found_all_the_same(gpu):
    rows = unit(np.random.default_rng(3), MOST_ON_GPU + 10)
    found = Searcher([rows], "cuda")
    numbers = found.nearest(rows[:2], MOST_ON_GPU + 5)[1]
    assert numbers.shape == (2, MOST_ON_GPU + 5) and len(set(numbers[0])) == MOST_ON_GPU + 5
    assert gpu.made[0].searched == 0


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="this machine has a GPU: the index would be there")
def test_without_a_gpu_that_device_is_no_error():
    rows = unit(np.random.default_rng(4), 30)
    found = Searcher([rows], "cuda")
    assert not found.on_gpu
    np.testing.assert_array_equal(found.nearest(rows, 1)[1][:, 0], np.arange(30))


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="needs a GPU")
def test_on_the_real_gpu():
    rows = unit(np.random.default_rng(5), 5000, 64)
    there, here = Searcher([rows[:2000], rows[2000:]], "cuda"), Searcher([rows], "cpu")
    assert there.on_gpu
    found, expected = there.nearest(rows[:200], 5), here.nearest(rows[:200], 5)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_array_equal(found[1][:, 0], expected[1][:, 0])
