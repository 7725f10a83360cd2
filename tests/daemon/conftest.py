"""An engine whose science is a script, in a workspace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.executors.port import Order
from tests.daemon.play import Stage
from tests.daemon.scripted import results


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make a `Stage`; its first argument changes what the scripted science says of an order."""
    made: list[Stage] = []

    def make(change: Callable[[Order, dict[str, Any]], Any] | None = None, **options: Any) -> Stage:
        def script(order: Order) -> Any:
            said = results(order)
            return said if change is None else change(order, said)

        made.append(Stage(tmp_path, script, **({"selection": {"queue_depth": 4}} | options)))
        return made[-1]

    yield make
    for stage in made:
        stage.store.close()
