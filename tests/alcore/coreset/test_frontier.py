"""The growing core-set equals a float64 brute force through any mixture of new patches, labels, withdrawals and new encoders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.coreset import Pick, fixed_order_dot
from alcore.coreset import Frontier, frontier
from alcore.coreset.dense import DenseOnDevice
from alcore.coreset.kernels import exact_dot

ENGINES = ["dense", "bounds 8", "bounds 24", "device", "device that fills up"]
DIM = 24


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Oracle:
    """Rows, what is covered in order, and every product with it in float64, each time anew."""

    def __init__(self, rows: np.ndarray, covered: list[int]):
        self.rows, self.covered = rows, list(covered)

    def next(self) -> Pick | None:
        if len(self.covered) == len(self.rows):
            return None
        products = fixed_order_dot(self.rows, self.rows[self.covered])
        key, near = products.max(axis=1), products.argmax(axis=1)
        key[self.covered] = np.inf
        best = int(key.argmin())
        return Pick(best, 1 - key[best], self.covered[int(near[best])], random=False)


class FillsUp:
    """Torch with a device that has room for so many more arrays: what runs out, at any place of the code, is its memory."""

    def __init__(self, torch: Any, room: int) -> None:
        self._torch, self._room = torch, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def from_numpy(self, array: np.ndarray) -> Any:
        self._room -= 1
        if self._room < 0:
            raise self._torch.OutOfMemoryError("played")
        return self._torch.from_numpy(array)


def made(engine: str, rows: np.ndarray, covered: list[int], threads: int = 1) -> Frontier:
    if not engine.startswith("device"):
        return Frontier(rows, covered, engine=engine, threads=threads)
    found = Frontier(rows, engine="dense", threads=threads)
    found.engine = DenseOnDevice(found.state, threads, "cpu", rows=100)  # the accelerator's code, on the CPU
    if engine != "device":
        found.engine._torch = FillsUp(found.engine._torch, room=len(rows) % 23)
    found.cover(covered)
    return found


def some_rows(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """Every tenth is an exact copy of another."""
    if kind == "exact ties":
        rows = np.zeros((n, DIM), np.float32)
        rows[:, :4] = rng.choice([-0.5, 0.5], (n, 4))
        return rows
    decay = {"steep": 3, "flat": 1000, "offset": 10}[kind]
    rows = unit(rng.normal(size=(n, DIM)) * np.exp(-np.arange(DIM) / decay) + (kind == "offset"))
    copies = rng.random(n) < 0.1
    rows[copies] = rows[rng.integers(0, n, copies.sum())]
    return rows


STEPS = st.lists(st.sampled_from(["add", "label", "take", "take", "take", "withdraw", "re-embed"]), max_size=60)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=12, deadline=None)
@given(
    steps=STEPS,
    kind=st.sampled_from(["steep", "flat", "offset", "exact ties"]),
    n=st.integers(1, 300),
    pool=st.sampled_from([2, 16, 2048]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_history_equals_brute_force(engine, steps, kind, n, pool, seed):
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "POOL", pool)
        patch.setattr(frontier, "CALIBRATION", 32)
        oracle = Oracle(some_rows(rng, n, kind), [int(rng.integers(n))])
        tested = made(engine, oracle.rows, oracle.covered)
        for step in steps:
            if step == "add":
                new = some_rows(rng, int(rng.integers(1, 30)), kind)
                new[:1] = oracle.rows[int(rng.integers(len(oracle.rows)))]
                begin = len(oracle.rows)
                oracle.rows = np.concatenate([oracle.rows, new])
                assert tested.add_points(new) == range(begin, len(oracle.rows))
            elif step == "label":
                positions = rng.integers(0, len(oracle.rows), 3).tolist()
                oracle.covered += [p for p in dict.fromkeys(positions) if p not in oracle.covered]
                tested.cover(positions)
            elif step == "withdraw" and len(oracle.covered) > 1:
                tested.withdraw(oracle.covered.pop(int(rng.integers(len(oracle.covered)))))
            elif step == "re-embed":
                oracle.rows = some_rows(rng, len(oracle.rows), kind)
                tested = made(engine, oracle.rows, tested.covered)
            assert tested.covered == oracle.covered
            expected = oracle.next()
            assert tested.next() == expected
            if step == "take" and expected is not None:
                oracle.covered.append(int(expected.position))
                tested.cover([expected.position])


@pytest.mark.parametrize("engine", ENGINES)
def test_many_withdrawals_close_the_holes(engine):
    rng = np.random.default_rng(3)
    oracle = Oracle(some_rows(rng, 400, "steep"), [0])
    tested = made(engine, oracle.rows, [0])
    for _ in range(90):
        for _ in range(3):
            oracle.covered.append(int(tested.next().position))
            tested.cover(oracle.covered[-1:])
        for _ in range(2):
            tested.withdraw(oracle.covered.pop(int(rng.integers(1, len(oracle.covered)))))
    assert len(tested.state.centres) < 200, "270 were covered, 180 of them withdrawn"
    assert tested.covered == oracle.covered
    for _ in range(20):
        assert tested.next() == oracle.next()
        oracle.covered.append(int(tested.next().position))
        tested.cover(oracle.covered[-1:])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 3])
def test_several_blocks_of_centres_and_several_threads(engine, threads, monkeypatch):
    rng = np.random.default_rng(4)
    monkeypatch.setattr(frontier, "CALIBRATION", 512)
    monkeypatch.setattr(frontier, "POOL", 64)
    oracle = Oracle(some_rows(rng, 5000, "steep"), rng.permutation(5000)[:260].tolist())
    tested = made(engine, oracle.rows, oracle.covered, threads)
    for _ in range(2):
        assert tested.next() == oracle.next()
        oracle.covered.append(int(tested.next().position))
        tested.cover(oracle.covered[-1:])
    fewer = tested.work.distances(DIM) / (5000 * 260)
    assert fewer < 0.9, "something was saved even from 5,000 rows"


@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_duplicates(engine):
    rows = np.tile(some_rows(np.random.default_rng(0), 2, "flat"), (3000, 1))
    oracle = Oracle(rows, [5])
    tested = made(engine, rows, [5])
    for i in range(6):
        pick = tested.next()
        assert pick == oracle.next()
        assert (pick.distance > 0.01) == (i == 0), "only one of them shows anything new"
        oracle.covered.append(int(pick.position))
        tested.cover([pick.position])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sample_that_is_all_covered_does_not_hide_the_rest(engine, monkeypatch):
    monkeypatch.setattr(frontier, "CALIBRATION", 4)
    oracle = Oracle(some_rows(np.random.default_rng(2), 80, "flat"), [0, 20, 40, 60])
    tested = made(engine, oracle.rows, oracle.covered)
    for _ in range(76):
        assert tested.next() == oracle.next()
        oracle.covered.append(int(tested.next().position))
        tested.cover(oracle.covered[-1:])
    assert tested.next() is None


def test_nothing_covered_everything_covered_and_back():
    rows = some_rows(np.random.default_rng(1), 5, "flat")
    tested = Frontier(rows)
    with pytest.raises(ValueError, match="nothing is covered"):
        tested.next()
    assert tested.look(2) == Pick(2, None, None, random=True)
    tested.cover(range(5))
    assert tested.next() is None
    tested.withdraw(3)
    assert tested.next().position == 3
    for position in (0, 1, 2, 4):
        tested.withdraw(position)
    with pytest.raises(ValueError, match="nothing is covered"):
        tested.next()
    tested.cover([1])
    assert tested.next() == Oracle(rows, [1]).next()
    assert Frontier(np.empty((0, 3), np.float32)).next() is None


def test_bad_input_is_one_clear_line():
    rows = some_rows(np.random.default_rng(1), 5, "flat")
    for broken in (np.nan, np.inf, 0, 7):
        wrong = rows.copy()
        wrong[3] = broken
        with pytest.raises(ValueError, match="position 3 is not finite and of length one"):
            Frontier(wrong)
        tested = Frontier(rows)
        with pytest.raises(ValueError, match="position 8 is not finite"):
            tested.add_points(wrong)
        assert len(tested) == 5
    with pytest.raises(ValueError, match=r"\(N, 24\) float32, got \(5, 23\)"):
        Frontier(rows).add_points(unit(rows[:, :23]))
    with pytest.raises(ValueError, match=r"float32, got .* float64"):
        Frontier(rows.astype(np.float64))
    for position in (-1, 5):
        with pytest.raises(ValueError, match=f"position {position} is not in the pool of 5"):
            Frontier(rows, [position])
    with pytest.raises(ValueError, match="position 2 is not covered"):
        Frontier(rows, [1]).withdraw(2)
    for engine in ("bounds", "bounds x", "best"):
        with pytest.raises(ValueError, match="engine must be"):
            Frontier(rows, engine=engine)
    for m in (12, 32, 0):
        with pytest.raises(ValueError, match="multiple of 8"):
            Frontier(rows, engine=f"bounds {m}")


@pytest.mark.parametrize("dim", [1, 7, 32, 33, 384])
def test_compiled_products_are_those_of_numpy_bit_by_bit(dim):
    rows = unit(np.random.default_rng(dim).normal(size=(40, dim)))
    lanes = np.empty(32)
    compiled = [[exact_dot(a, b, lanes) for b in rows] for a in rows]
    np.testing.assert_array_equal(compiled, fixed_order_dot(rows, rows))
