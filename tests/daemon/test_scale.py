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


# what arrives faster than it can be dealt with


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path)
    yield made
    made.close()


def jobs(pool: Pool, stage: str) -> list[tuple[str, int]]:
    """(state, priority) of the jobs of a stage, oldest first."""
    sql = "SELECT state, priority FROM job WHERE stage = ? ORDER BY id"
    return [(r["state"], r["priority"]) for r in pool.store._db.query(sql, [stage])]


def test_of_two_hundred_acquisitions_few_are_planned_and_what_was_read_is_learned_from_first(pool):
    pool.ingested(0, 3)
    pool.settled(3, 200)
    pool.executor.slots = {False: 0, True: 0}
    for _ in range(3):
        pool.engine.tick()
    waiting = [state for state, _ in jobs(pool, "volume") if state == "ready"]
    assert len(waiting) == LEAST_READING
    assert [job.stage for job in pool.store.jobs.ready(SMALL, 9)] == ["pseudo"] * 3 + ["volume"] * LEAST_READING
    assert PRIORITY["backlog"] < PRIORITY["embedding"]


def test_a_few_acquisitions_are_read_before_anything_is_learned(pool):
    pool.ingested(0, 3)
    pool.settled(3, BACKLOG)
    pool.executor.slots = {False: 0, True: 0}
    pool.engine.tick()
    stages = [job.stage for job in pool.store.jobs.ready(SMALL, 9)]
    assert stages == ["volume"] * LEAST_READING + ["pseudo"] * 3


@pytest.mark.parametrize("backlog", ["newest", "oldest"])
def test_a_backlog_is_read_in_the_order_that_is_asked_for_and_late_comers_find_their_place(tmp_path, backlog):
    pool = Pool(tmp_path, run={"min_free_gb": 0.0, "backlog": backlog})
    pool.settled(100, 40)
    read: list[int] = []

    def read_one() -> None:
        pool.engine.tick()
        order = pool.executor.orders[-1]
        assert order.stage == "volume"
        number = int(order.inputs["source"][0].path.stem.split("_")[1])
        read.append(number)
        source = pool.store.sources.at(bytes(order.inputs["source"][0].path))
        pool.store.jobs.done(order.job_id, {}, pool.now)
        pool.artifact(order.key)
        pool.store.volumes.ingest(source, fingerprint(number), order.key, read_result(number), pool.now)
        pool.executor.slots[False] += 1

    def start(order):
        pool.executor.slots[False] -= 1

    pool.executor.script = start
    pool.executor.slots = {False: 1, True: 0}
    with contextlib.closing(pool):
        while len(read) < 10:
            read_one_volume(pool, read)
