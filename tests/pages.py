"""Pages of jobs on a pool, as tests write and read them."""

from __future__ import annotations

from collections.abc import Sequence

from alcore import pages
from alcore.artifact import ArtifactStore
from alcore.stage import Input
from daemon.executors.port import Order


def rows_of(order: Order) -> list[dict[str, str]]:
    """What the pages of an order name, in order."""
    return [row for page in order.inputs[pages.STAGE] for row in pages.read(page)]


def written(store: ArtifactStore, rows: Sequence[pages.Row], per_page: int = 2) -> list[Input]:
    """Pages with so many rows."""
    found = []
    for begin in range(0, len(rows), per_page):
        some = list(rows[begin : begin + per_page])
        key = pages.page_key(some)
        pages.write(store, key, some)
        found.append(Input(store.path(key), key))
    return found
