"""Arrays in files: any sequence of reads and writes gives what numpy gives, and a file is found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcore.arrays.diskgrid import DiskGrid
from alcore.errors import TransientError


@given(data=st.data(), shape=st.tuples(*[st.integers(1, 9)] * 3), dtype=st.sampled_from(["uint8", "uint32", "float64"]))
@settings(max_examples=60, deadline=None)
def test_like_numpy(data: st.DataObject, shape: tuple[int, int, int], dtype: str, tmp_path_factory) -> None:
    expected = np.zeros(shape, dtype)
    with DiskGrid(tmp_path_factory.mktemp("grid") / "g.raw", shape, dtype) as grid:
        for value in range(data.draw(st.integers(1, 6))):
            edges = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            box = tuple(slice(a, b) for a, b in edges)
            values = np.arange(expected[box].size, dtype=dtype).reshape(expected[box].shape) + value
            grid[box], expected[box] = values, values
            edges = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            box = tuple(slice(a, b) for a, b in edges)
            np.testing.assert_array_equal(grid[box], expected[box])
        np.testing.assert_array_equal(grid[tuple(slice(0, n) for n in shape)], expected)
        assert grid[tuple(slice(0, n) for n in shape)].dtype == dtype


def test_is_found_again_and_is_new_in_another_shape(tmp_path: Path) -> None:
    whole = (slice(0, 2), slice(0, 3), slice(0, 4))
    with DiskGrid(tmp_path / "g", (2, 3, 4), np.int32) as grid:
        grid[whole] = 7
        grid.flush()
    with DiskGrid(tmp_path / "g", (2, 3, 4), np.int32) as grid:
        assert (grid[whole] == 7).all()
    grid = DiskGrid(tmp_path / "g", (2, 3, 5), np.int32)
    assert not grid[slice(0, 2), slice(0, 3), slice(0, 5)].any()
    grid.remove()
    grid.close()
    assert not list(tmp_path.iterdir())


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    with DiskGrid(tmp_path / "g", (4, 3, 4), np.int32) as grid:
        (tmp_path / "g").write_bytes(b"")
        with pytest.raises(TransientError, match="became shorter"):
            grid[slice(0, 1), slice(0, 3), slice(0, 4)]
