"""The next batch is made while the present one is used: in order, one ahead, and nothing goes on after the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from alcore.encoder.ahead import ahead


def counted(n: int, made: list[int], broken_at: int = -1) -> Iterator[int]:
    for i in range(n):
        if i == broken_at:
            raise OSError(f"batch {i} cannot be read")
        made.append(i)
        yield i


def test_the_same_in_the_same_order() -> None:
    assert list(ahead(counted(7, []))) == list(range(7))
    assert list(ahead(counted(0, []))) == []


def test_one_is_made_ahead_and_not_more() -> None:
    """Two would be one more in memory."""
    made: list[int] = []
    second = threading.Event()

    def batches() -> Iterator[int]:
        for i in counted(5, made):
            if i == 1:
                second.set()
            yield i

    with closing(ahead(batches())) as coming:
        assert next(coming) == 0
        assert second.wait(10)  # made though nobody has asked for it
        threading.Event().wait(0.1)
        assert made == [0, 1]


def test_what_goes_wrong_is_raised_in_its_turn() -> None:
    with closing(ahead(counted(5, [], broken_at=2))) as coming:
        assert [next(coming), next(coming)] == [0, 1]
        with pytest.raises(OSError, match="batch 2"):
            next(coming)


def test_left_early_its_thread_ends() -> None:
    made: list[int] = []
    with closing(ahead(counted(100, made))) as coming:
        next(coming)
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
    assert len(made) <= 2
