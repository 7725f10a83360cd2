"""Single planes and stacks that one model takes are told of; other kinds of data are not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from alcore.kinds import Kind
from daemon.planning.mixture import mixture
from daemon.store.report import snapshot
from daemon.store.training import Amount
from tests.daemon.pool import Pool, read_result
from tests.daemon.test_training_plans import FINE, THICK

WORDS = "share one model, its plan and the patches that judge it; give them workspaces of their own"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with contextlib.closing(Pool(tmp_path)) as made:
        made.executor.slots = {False: 0, True: 0}
        yield made


def ingested(pool: Pool, number: int, planes: int, voxel_um: tuple[float, ...] | None = None) -> None:
    """A volume of so many planes, with pseudo-labels."""
    pool.settled(number, 1)
    source = pool.store.sources.source(pool.store.sources.at(pool._path(number)))
    assert source is not None
    result = read_result(number)
    result["volumes"][0]["info"] |= {"shape": [1, planes, 512, 512], "voxel_um": voxel_um and list(voxel_um)}
    job = pool.done(pool.planning.planner.volume(source), {})
    pool.store.volumes.ingest(source.id, source.fingerprint, job.key, result, pool.now)
    pool.pseudo_labelled()


def told(pool: Pool) -> list[str]:
    pool.engine.tick()
    return [p.message for p in snapshot(pool.workspace.root, pool.now).problems if p.kind == "mixed"]


def test_planes_and_stacks_in_one_pool_are_told_of_while_both_are_there(pool: Pool) -> None:
    for number in range(2):
        ingested(pool, number, 64)
    assert told(pool) == []
    ingested(pool, 2, 1)
    first = f"1 single plane and 2 stacks (1 channel, unknown voxel size) {WORDS}"
    assert told(pool) == [first]
    ingested(pool, 3, 1)
    assert told(pool) == [first.replace("1 single plane", "2 single planes")]
    hints = [r["message"] for r in pool.store.state._db.query("SELECT message FROM event WHERE kind = 'hint'")]
    assert hints == [first]
    for number in (2, 3):
        pool.store.sources.set_gone(pool._path(number), True)
    pool.planning.training.known.clear()  # as when the next volume has pseudo-labels
    assert told(pool) == []


def test_kinds_that_no_model_takes_both_of_are_not_a_mixture() -> None:
    assert mixture([Amount(Kind(1, FINE), 3, 9), Amount(Kind(1, THICK), 5, 9, 5)]) == ""
    assert mixture([Amount(Kind(1, FINE), 3, 9), Amount(Kind(2, FINE), 5, 9, 5)]) == ""
    assert mixture([Amount(Kind(1, FINE), 5, 9, 5)]) == ""
    text = mixture([Amount(Kind(1, FINE), 3, 9), Amount(Kind(1, None), 5, 9, 5)])
    assert text == f"5 single planes and 3 stacks (1 channel, 0.05 x 0.01 x 0.01 um) {WORDS}"
