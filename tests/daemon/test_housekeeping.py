"""What trainings leave behind is cleared away when nobody needs it any more; models, and what can still be continued, stay."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.housekeeping import CASES_EVERY_S, Housekeeping
from daemon.retention import DAY_S, expired_between, unused_cases
from tests.daemon.pool import Pool

KEEP_DAYS = 10.0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with contextlib.closing(Pool(tmp_path, training={"keep_days": KEEP_DAYS})) as made:
        made.executor.slots = {False: 0, True: 0}
        made.ingested(0, 2)
        made.pseudo_labelled()
        yield made


def keeping(pool: Pool) -> Housekeeping:
    """As of a daemon that has just started."""
    return Housekeeping(pool.store, pool.workspace, pool.settings.training.keep_days)


def scratch(pool: Pool, job_id: int) -> Path:
    folder = pool.workspace.places.job(job_id) / "scratch"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "latest.pt").write_bytes(b"weights")
    (folder.parent / "log.txt").write_text("what happened")
    return folder


def training(pool: Pool) -> int:
    (wanted,) = pool.planning.training.pretraining()
    made = pool.store.jobs.want(wanted, pool.now)
    assert made is not None
    return made


def test_checkpoints_stay_while_a_job_may_go_on(pool: Pool) -> None:
    job_id = training(pool)
    folder, house = scratch(pool, job_id), keeping(pool)
    for state in ("ready", "running", "waiting"):
        if state == "running":
            pool.store.jobs.claim(job_id, "me", pool.now)
        if state == "waiting":
            pool.store.jobs.postponed(job_id, pool.now, "later", "preempted", pool.now, False)
        pool.now += 100 * DAY_S
        house.run(pool.now)
        assert folder.is_dir(), state
    pool.store.jobs.due(pool.now)
    pool.finish(job_id, {})
    pool.now += 1
    assert house.run(pool.now) == 1
    assert not folder.exists()
    assert (folder.parent / "log.txt").exists()


def test_a_failed_training_may_be_tried_again_for_some_days(pool: Pool) -> None:
    job_id = training(pool)
    folder, house = scratch(pool, job_id), keeping(pool)
    pool.store.jobs.claim(job_id, "me", pool.now)
    pool.store.jobs.failed(job_id, "no", "permanent", pool.now)
    begins = pool.now
    for day in range(int(KEEP_DAYS)):
        house.run(begins + day * DAY_S)
        assert folder.is_dir()
    keeping(pool).run(begins + (KEEP_DAYS - 0.1) * DAY_S)  # after a restart as well
    assert folder.is_dir()
    house.run(begins + (KEEP_DAYS + 0.1) * DAY_S)
    assert not folder.exists()


def test_no_end_of_a_job_is_missed_between_two_looks() -> None:
    looks = [0.0, 5.0, 5.0, 70.0, 1e6]
    for ended in (0.5, 5.0, 69.0, 70.0, 5e5):
        for state, keep_s in (("done", 0.0), ("failed", 2 * DAY_S), ("cancelled", 2 * DAY_S)):
            seen = 0
            for last, now in itertools.pairwise(looks):
                since, until = expired_between(last, now, 2.0)[state]
                seen += since <= ended < until
                assert not since <= ended < until or now - ended > keep_s
            assert seen == (1 if ended + keep_s < looks[-1] else 0)


def case(pool: Pool, name: str, used: float, folder: str = "cases-abc") -> Path:
    where = pool.workspace.places.cache / "nnunet" / folder
    where.mkdir(parents=True, exist_ok=True)
    for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
        (where / f"{name}{suffix}").write_bytes(b"voxels")
        os.utime(where / f"{name}{suffix}", (used, used))
    return where


def test_prepared_patches_go_when_no_training_used_them_for_long(pool: Pool) -> None:
    old, new = pool.now - (KEEP_DAYS + 1) * DAY_S, pool.now - DAY_S
    folder = case(pool, "case_1", old)
    case(pool, "case_2", new)
    gone = case(pool, "case_3", old, "cases-of-an-old-plan")
    half_made = pool.workspace.places.cache / "nnunet" / ".cases-abc.12.ff"
    half_made.mkdir()
    assert keeping(pool).run(pool.now) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["case_2.b2nd", "case_2.pkl", "case_2_seg.b2nd"]
    assert not gone.exists()
    assert not half_made.exists()


def test_nothing_is_taken_from_under_a_training(pool: Pool) -> None:
    folder, house = case(pool, "case_1", 0.0), keeping(pool)
    job_id = training(pool)
    pool.store.jobs.claim(job_id, "me", pool.now)
    house.run(pool.now)
    assert len(list(folder.iterdir())) == 3
    pool.store.jobs.done(job_id, {}, pool.now)
    house.run(pool.now + CASES_EVERY_S)
    assert not folder.exists()


def test_models_and_labels_are_out_of_reach(tmp_path: Path) -> None:
    with contextlib.closing(Pool(tmp_path, training={"keep_days": 0.0})) as pool:
        pool.executor.slots = {False: 0, True: 0}
        for key in ("pretrain-1", "finetune-1", "label-1", "predict-1"):
            folder = pool.workspace.artifacts.path(key)
            folder.mkdir(parents=True)
            (folder / "weights.pt").write_bytes(b"weights")
        before = sorted(p for p in pool.workspace.places.artifacts.rglob("*"))
        keeping(pool).run(pool.now + 1000 * DAY_S)
        assert sorted(p for p in pool.workspace.places.artifacts.rglob("*")) == before


def test_what_is_unused_is_said_by_age_alone() -> None:
    used = {"a": 0.0, "b": 5 * DAY_S, "c": 9.5 * DAY_S}
    assert unused_cases(used, 10 * DAY_S, 1.0) == ["a", "b"]
    assert unused_cases(used, 10 * DAY_S, 0.0) == ["a", "b", "c"]
