"""What a tick costs does not grow with the pool beyond looking at each volume once. Counted in SQL, not in seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.planning.levels import AHEAD
from daemon.planning.pool import BACKLOG, LEAST_READING
from daemon.policy import PRIORITY
from daemon.store import listing
from daemon.store.connection import DATABASE, open_reader
from daemon.store.report import snapshot
from tests.daemon.pool import MODEL, Pool, fingerprint, name, read_result

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
    few, many = (statements(pools[n], pools[n].whole_look) for n in (20, 200))
    assert len(few) > 60
    assert len(many) == len(few), sorted(set(many) - set(few))


@pytest.mark.parametrize("what", ["tick", "readable", "get"])
def test_the_work_in_sql_grows_no_faster_than_the_pool(pools, what):
    def work(pool: Pool) -> int:
        newest = max(v.id for v in pool.volumes())
        actions: dict[str, Callable[[], object]] = {
            "tick": pool.whole_look,
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
    stages = [job.stage for job in pool.store.jobs.ready(9, long=False)]
    assert stages == ["encoder"] + ["pseudo"] * 3 + ["volume"] * LEAST_READING
    assert PRIORITY["backlog"] < PRIORITY["embedding"]


def test_a_few_acquisitions_are_read_before_anything_is_learned(pool):
    pool.ingested(0, 3)
    pool.settled(3, BACKLOG)
    pool.executor.slots = {False: 0, True: 0}
    pool.engine.tick()
    stages = [job.stage for job in pool.store.jobs.ready(9, long=False)]
    assert stages == ["volume"] * LEAST_READING + ["encoder"] + ["pseudo"] * 3  # the descriptor


def read_next(pool: Pool) -> int:
    """Plan, and read the acquisition whose turn it is; returns its number."""
    pool.engine.tick()
    job = next(job for job in pool.store.jobs.ready(99, long=False) if job.stage == "volume")
    path = job.inputs["source"][0].path
    number, source = int(path.stem.split("_")[1]), pool.store.sources.at(bytes(path))
    pool.finish(job.id, {})
    pool.store.volumes.ingest(source, fingerprint(number), job.key, read_result(number), pool.now)
    return number


@pytest.mark.parametrize("backlog", ["newest", "oldest"])
def test_a_backlog_is_read_in_the_order_that_is_asked_for_and_late_comers_find_their_place(tmp_path, backlog):
    with contextlib.closing(Pool(tmp_path, run={"min_free_gb": 0.0, "backlog": backlog})) as pool:
        pool.executor.slots = {False: 0, True: 0}
        pool.settled(100, 40)
        newest_first = backlog == "newest"
        expected = sorted(range(100, 140), reverse=newest_first)
        assert [read_next(pool) for _ in range(10)] == expected[:10]
        late = 500 if newest_first else 50
        pool.settled(late, 1)
        following = [read_next(pool) for _ in range(LEAST_READING + 1)]
        assert late in following
        following.remove(late)
        assert following == expected[10 : 10 + LEAST_READING]
        rest = [read_next(pool) for _ in range(40 - 10 - LEAST_READING)]
        assert rest == expected[10 + LEAST_READING :]


# the whole pool at once


def test_few_predictions_lie_ready_however_many_volumes_wait_and_all_are_made_in_the_end(tmp_path):
    with contextlib.closing(Pool(tmp_path)) as pool:
        pool.at_rest(2 * AHEAD)
        pool.executor.slots = {False: 0, True: 0}
        for sql in (
            "DELETE FROM prediction",
            "DELETE FROM job_event WHERE job_id IN (SELECT id FROM job WHERE stage = 'predict')",
            "DELETE FROM job WHERE stage = 'predict'",
        ):
            pool.store._db.conn.execute(sql)
        made = 0
        while True:
            pool.engine.tick()
            ready = pool.store.jobs.ready(999, stages=["predict"])
            assert len(ready) == min(AHEAD, 2 * AHEAD - made)
            if not ready:
                break
            for job in ready[:50]:
                pool.finish(job.id, {"n_objects": 1})
                assert job.volume_id is not None
                pool.store.predictions.add(job.volume_id, MODEL, pool.artifact(job.key), 1, pool.now)
                pool.store.predictions.shown(job.volume_id, MODEL)
                made += 1
        assert made == 2 * AHEAD


def failed(pool: Pool, stage: str) -> None:
    for job in pool.store.jobs.ready(9, stages=[stage]):
        pool.store.jobs.claim(job.id, "me", pool.now)
        pool.store.jobs.failed(job.id, "it cannot be", "permanent", pool.now)


def test_an_encoder_that_failed_is_not_thought_about_again_until_the_pool_is_another_one(pool):
    def wanted() -> list[tuple[str, str]]:
        return [(w.params["kind"], w.subject) for w in pool.planning.pool.encoders(pool.now)]

    pool.executor.slots = {False: 0, True: 0}
    pool.ingested(0, 3)
    pool.engine.tick()
    failed(pool, "encoder")
    assert wanted() == []
    assert not any("v.read" in sql for sql in statements(pool, wanted))
    pool.store.sources.set_gone(bytes(pool.folder / name(2)), True)
    assert wanted() == [("descriptor", "pool:16"), ("mae", "pool:16")]
    pool.ingested(3, 1)  # as many volumes and patches as before, but not the same
    assert wanted() == [("descriptor", "pool:24"), ("mae", "pool:24")]


def test_suggestions_that_failed_are_asked_for_again_once_something_else_is_asked(pool):
    pool.at_rest(12)
    for suggestion in snapshot(pool.workspace.root, pool.now).queue:
        pool.store.annotation.move(suggestion.id, "skipped", "", pool.now)
        pool.store.annotation.set_published(suggestion.id, False)
    pool.executor.slots = {False: 0, True: 0}
    pool.engine.tick()
    failed(pool, "suggestions")
    assert list(pool.planning.selection.suggestions(pool.now)) == []
    assert not any(
        "SELECT volume_id, key" in s
        for s in statements(pool, lambda: list(pool.planning.selection.suggestions(pool.now)))
    )
    pool.queued(1)
    assert [w.params["n"] for w in pool.planning.selection.suggestions(pool.now)] == [7]


def test_pretraining_takes_the_volumes_that_its_patches_lie_in_and_remembers_how_many_there_were(tmp_path):
    with contextlib.closing(Pool(tmp_path, training={"pretrain_max_patches": 4})) as pool:
        pool.ingested(0, 10)
        pool.pseudo_labelled()
        pool.executor.slots = {False: 0, True: 0}
        pool.engine.tick()
        (job,) = pool.store.jobs.ready(9, stages=["pretrain"])
        chosen = [(p["volume"], tuple(p["start"])) for p in job.params["patches"]]
        assert [i.path.name for i in job.inputs["source"]] == [name(n) for n in (0, 2, 5, 7)]
        assert chosen == [(0, (0, 0, 0)), (1, (32, 0, 0)), (2, (0, 0, 0)), (3, (32, 0, 0))]
        failed(pool, "pretrain")
        pool.ingested(10, 9)
        pool.pseudo_labelled()
        assert list(pool.planning.training.pretraining()) == []  # it failed on ten: nineteen are not much more
        pool.ingested(19, 1)
        pool.pseudo_labelled()
        assert [w.subject for w in pool.planning.training.pretraining()] == ["pretrain:20"]
