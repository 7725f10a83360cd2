"""Make the next batch while the present one is computed on: in one thread, one batch ahead, in the same order."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(batches: Iterator[T]) -> Generator[T, None, None]:
    """The same batches in the same order; what making one raises is raised where it is asked for.

    `batches` runs in one thread only, so that its random numbers and its file are its own. Memory holds two batches and
    not one. Close this iterator (`contextlib.closing`) when it is left early: the thread ends with the batch that it is at.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
