"""What a tick costs does not grow with the pool beyond looking at each volume once. Counted in SQL, not in seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.store import listing
from daemon.store.connection import DATABASE, open_reader
from daemon.store.report import snapshot
from tests.daemon.pool import Pool

STEP = 100
"""Instructions of SQLite's virtual machine are counted in hundreds."""


@contextlib.contextmanager
def pool_at_rest(root: Path, n: int, **options: object) -> Iterator[Pool]:
    root.mkdir()
    pool = Pool(root, **options)
    try:
        yield pool.at_rest(n, n_labels=12)
    finally:
        pool.close()


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Pool]]:
    root = tmp_path_factory.mktemp("pools")
    with contextlib.ExitStack() as stack:
        yield {n: stack.enter_context(pool_at_rest(root / str(n), n)) for n in (20, 200, 400)}


def statements(pool: Pool, action: Callable[[], object]) -> list[str]:
    """The SQL that the store ran."""
    found: list[str] = []
    connection = pool.store._db.conn
    connection.set_trace_callback(found.append)
    try:
        action()
    finally:
        connection.set_trace_callback(None)
    return found


def instructions(pool: Pool, action: Callable[[], object]) -> int:
    """How many hundred instructions SQLite's virtual machine carried out for the store."""
    count = [0]

    def another() -> int:
        count[0] += 1
        return 0

    connection = pool.store._db.conn
    connection.set_progress_handler(another, STEP)
    try:
        action()
    finally:
        connection.set_progress_handler(None, 0)
    return count[0]


def test_the_pool_is_at_rest(pools):
    for n, pool in pools.items():
        assert list(pool.planning.wanted(pool.now)) == []
        pool.engine.tick()
        assert pool.executor.orders == []
        shot = snapshot(pool.workspace.root, pool.now)
        counts = {
            name: shot.volumes[name] for name in ("ingested", "pseudo_labelled", "embedded", "indexed", "predicted")
        }
        assert set(counts.values()) == {n}, counts
        assert (shot.patches["total"], shot.labels["accepted"], len(shot.queue)) == (8 * n, 12, 8)
        assert [m.state for m in shot.models] == ["baseline", "promoted"]


def test_a_tick_takes_as_many_statements_for_many_volumes_as_for_few(pools):
    few, many = (statements(pools[n], pools[n].engine.tick) for n in (20, 200))
    assert len(few) > 10
    assert len(many) == len(few), sorted(set(many) - set(few))


@pytest.mark.parametrize("what", ["tick", "readable", "get"])
def test_the_work_in_sql_grows_no_faster_than_the_pool(pools, what):
    def work(pool: Pool) -> int:
        newest = max(v.id for v in pool.volumes())
        actions: dict[str, Callable[[], object]] = {
            "tick": pool.engine.tick,
            "readable": pool.volumes,
            "get": lambda: [pool.store.volumes.get(newest) for _ in range(50)],
        }
        return instructions(pool, actions[what])

    few, many = work(pools[200]), work(pools[400])
    limit = 1.1 * few if what == "get" else 2.2 * few
    assert 0 < many <= limit, (few, many)


def test_status_reads_a_large_pool_without_a_statement_for_each_volume(pools):
    def ran(pool: Pool) -> int:
        found: list[str] = []
        with contextlib.closing(open_reader(pool.workspace.root / DATABASE)) as db:
            db.set_trace_callback(found.append)
            assert len(listing.sources(db, pool.now)) >= 20
        return len(found)

    assert ran(pools[20]) == ran(pools[200]) == 1
