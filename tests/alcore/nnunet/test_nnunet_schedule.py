"""The schedule: warm-up, peak, decay to zero; keys and values that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from alcore.errors import PermanentError
from alcore.nnunet.schedule import Schedule


def test_learning_rate_rises_to_the_peak_and_falls_to_zero() -> None:
    s = Schedule(epochs=10, iterations=10, lr=0.5, warmup=0.2)
    rates = [s.lr_at(i) for i in range(101)]
    assert max(rates) == rates[20] == 0.5
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[0] > 0
    assert rates[100] == 0


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"warmup": 2.0}, "warmup"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"batch": 0}, "batch"),
        ({"speed": 1}, "speed"),
    ],
)
def test_impossible_schedules_are_named(value: dict[str, Any], key: str) -> None:
    with pytest.raises(PermanentError, match=f"schedule.{key}"):
        Schedule.from_json(value)


def test_the_optimizer_suits_the_plan_unless_it_is_chosen() -> None:
    assert Schedule().resolved("tiny").optimizer == "adamw"
    assert Schedule().resolved("default").optimizer == "sgd"
    assert Schedule(optimizer="adamw").resolved("default").optimizer == "adamw"


def test_json_round_trip() -> None:
    s = Schedule(epochs=3, batch=4, optimizer="sgd")
    assert Schedule.from_json(s.to_json()) == s
