"""Settings that cannot be played are refused where they are given, before any image is read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from alcore.errors import PermanentError
from alcore.simulation.settings import Settings, budgets_of


@pytest.mark.parametrize("wrong", [(0, 0, 0), (-1, 1, 1), (math.nan, 1, 1), (1, math.inf, 1), (1, 1)])
def test_a_voxel_size_is_three_lengths(wrong: Any) -> None:
    with pytest.raises(PermanentError, match="--voxel-um must be three finite lengths above 0"):
        Settings(voxel_um=wrong)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pool_size": 2}, "--pool-size 2: .*nothing to choose.*at least 4"),
        ({"pool_size": 3}, "--pool-size 3"),
        ({"budgets": (0,)}, "--budgets 0: .*nothing to choose"),
        ({"budgets": (0, 16), "pool_size": 16}, "--budgets 0,16: a pool has 16 patches"),
        ({"budgets": (20,), "pool_size": 16}, "--budgets asks for 20 labels"),
    ],
)
def test_a_run_in_which_nothing_is_chosen_is_refused(given: Any, words: str) -> None:
    with pytest.raises(PermanentError, match=words):
        Settings(**given)


def test_budgets_are_checked_with_the_pool_that_an_image_gives() -> None:
    assert budgets_of(Settings(budgets=(1,), pool_size=2), 2) == (1, 2)
    with pytest.raises(PermanentError, match="nothing to choose"):
        budgets_of(Settings(budgets=(0, 8)), 8)
