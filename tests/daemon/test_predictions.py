"""Who is segmented next under each policy, what a rollback takes up again, and what is written down beside."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.commands import ask
from daemon.config import Prediction
from daemon.planning.levels import AHEAD
from daemon.planning.predictions import FIRST
from daemon.policy import PRIORITY
from daemon.store.connection import DATABASE, open_reader
from daemon.store.quality_listing import advice, points, quality
from daemon.store.report import snapshot
from tests.daemon.pool import MODEL, Pool


def at_rest(root: Path, n: int, policy: str) -> Pool:
    pool = Pool(root, prediction={"policy": policy}).at_rest(n)
    pool.executor.slots = {False: 0, True: 0}
    return pool


def promote(pool: Pool, version: str) -> None:
    """A model comes into use; it is made first if there is none of that name."""
    if pool.store.learning.model(version) is None:
        key = pool.artifact(f"finetune-{version}")
        pool.store.learning.add_model(version, "finetuned", "retired", key, None, [], "", pool.now)
    pool.store.models.promote(version, "hand", "ana", "to see it", pool.now)


def wanted(pool: Pool) -> list[tuple[int | None, int]]:
    """(volume, priority) of the segmentations that are ready after a tick, most urgent first."""
    pool.engine.tick()
    return [(job.volume_id, job.priority) for job in pool.store.jobs.ready(999, stages=["predict"])]


def segmented(pool: Pool, version: str) -> None:
    """Every job that is ready is done."""
    for job in pool.store.jobs.ready(999, stages=["predict"]):
        pool.finish(job.id, {"n_objects": 1})
        assert job.volume_id is not None
        pool.store.predictions.add(job.volume_id, version, job.key, 1, pool.now)
        pool.store.predictions.shown(job.volume_id, version)


NEW, UNSEEN, OLD = PRIORITY["predict"], PRIORITY["predict_old"], PRIORITY["repredict"]


def test_always_means_all_and_those_that_nobody_has_seen_first(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 4, "always")) as pool:
        assert wanted(pool) == []
        promote(pool, "B")
        assert wanted(pool) == [(4, OLD), (3, OLD), (2, OLD), (1, OLD)]
        pool.ingested(4, 2)
        assert wanted(pool) == [(6, NEW), (5, NEW), (4, OLD), (3, OLD), (2, OLD), (1, OLD)]
        segmented(pool, "B")
        assert wanted(pool) == []


def test_new_means_new_until_somebody_asks_for_all(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 3, "new")) as pool:
        promote(pool, "B")
        assert wanted(pool) == []
        pool.ingested(3, 1)
        assert wanted(pool) == [(4, NEW)]
        ask(pool.workspace, "predict-all", {})
        assert wanted(pool) == [(4, NEW), (3, OLD), (2, OLD), (1, OLD)]
        segmented(pool, "B")
        assert wanted(pool) == [] and pool.store.predictions.wished() == 0
        promote(pool, "C")
        assert wanted(pool) == []


def test_manual_means_nothing_but_what_was_there_when_somebody_asked(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "manual")) as pool:
        pool.ingested(2, 1)
        assert wanted(pool) == []
        pool.store.predictions.wish(pool.now)
        pool.ingested(3, 1)
        assert wanted(pool) == [(3, OLD)]
        segmented(pool, MODEL)
        assert wanted(pool) == [] and pool.store.predictions.wished() == 0


def test_after_a_rollback_what_was_withdrawn_is_wanted_again(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "always")) as pool:
        pool.ingested(2, 2)
        assert wanted(pool) == [(4, NEW), (3, NEW)]
        by_hand = pool.store.jobs.ready(9, stages=["predict"])[1]
        pool.store.jobs.cancel(by_hand.id, "cancelled by hand", pool.now)
        promote(pool, "B")
        pool.engine.tick()
        pool.engine.tick()
        assert {job.inputs["model"][0].key for job in pool.store.jobs.ready(9, stages=["predict"])} == {"finetune-B"}
        promote(pool, MODEL)
        pool.engine.tick()
        assert wanted(pool) == [(4, NEW)]  # what a person cancelled stays so
        promote(pool, "B")
        pool.engine.tick()
        assert [v for v, _ in wanted(pool)] == [4, 3, 2, 1]


def test_however_many_wait_again_a_new_volume_need_not(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, AHEAD + 8, "always")) as pool:
        promote(pool, "B")
        assert len(wanted(pool)) == AHEAD
        pool.ingested(AHEAD + 8, 1)
        assert wanted(pool)[0] == (AHEAD + 9, NEW)


def test_what_was_there_before_the_model_waits_for_training_but_for_a_few_and_what_comes_does_not(
    tmp_path: Path,
) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "always")) as pool:
        pool.ingested(2, AHEAD + 10)
        pool.now += 60
        promote(pool, "B")
        n = AHEAD + 12
        first = [(n - i, NEW) for i in range(FIRST)]
        assert wanted(pool) == first + [(n - i, UNSEEN) for i in range(FIRST, AHEAD)]
        segmented(pool, "B")
        assert wanted(pool) == [(n - i, UNSEEN) for i in range(AHEAD, n - 2)] + [(2, OLD), (1, OLD)]
        pool.now += 60
        pool.ingested(AHEAD + 12, 2)
        assert wanted(pool)[:2] == [(n + 2, NEW), (n + 1, NEW)]
        promote(pool, "C")
        assert [priority for _, priority in wanted(pool)][:FIRST] == [NEW] * FIRST  # and a few for the next model


def test_a_new_volume_finds_room_beside_all_that_waits_for_training(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "always")) as pool:
        pool.ingested(2, AHEAD + 10)
        pool.now += 60
        promote(pool, "B")
        assert len(wanted(pool)) == AHEAD
        pool.now += 60
        pool.ingested(AHEAD + 12, 1)
        assert (AHEAD + 13, NEW) in wanted(pool)[: FIRST + 1]
        assert len(wanted(pool)) == AHEAD + 1


def test_training_goes_before_what_there_may_be_ten_thousand_of(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "always")) as pool:
        pool.ingested(2, 20)
        pool.labelled(pool.queued(8))
        assert pool.planning.learning.open_round(pool.now) == ""
        pool.now += 60
        promote(pool, "B")
        pool.engine.tick()
        stages = [job.stage for job in pool.store.jobs.ready(99, True) if job.stage in ("predict", "finetune")]
        assert stages == ["predict"] * FIRST + ["finetune"] + ["predict"] * (22 - FIRST)


def test_segmented_in_another_way_all_are_wanted_again(tmp_path: Path) -> None:
    with contextlib.closing(at_rest(tmp_path, 2, "always")) as pool:
        changed = pool.settings.model_copy(update={"prediction": Prediction(uncertainty=True)})
        object.__setattr__(pool.planning.planner, "settings", changed)
        assert [volume for volume, _ in wanted(pool)] == [2, 1]


# what is written down beside


@pytest.fixture
def db(scored: Pool) -> Iterator[sqlite3.Connection]:
    """What reports read through, which sees what is committed."""
    with contextlib.closing(open_reader(scored.workspace.root / DATABASE)) as made:
        yield made


@pytest.fixture
def scored(tmp_path: Path) -> Iterator[Pool]:
    """A promoted model, scored on ten held-out patches, whose volumes it has segmented, and nothing calibrated yet."""
    pool = at_rest(tmp_path, 40, "always")
    gate = [label for label in pool.store.labels.current() if label.role == "gate"]
    assert len(gate) == 10
    counts = {"n_true": 10, "n_predicted": 10, "n_matched": 5, "true_voxels": 100, "predicted_voxels": 90}
    rows = []
    for n, label in enumerate(gate):
        row = {"label": label.artifact, "volume": "v", "counts": counts | {"n_matched": n}}
        rows.append(row | {"scores": {"dice": 0.5 + 0.04 * n}})
    pool.store.learning.add_evaluation("evaluate-1", MODEL, "d", {"scores": {"f1": 0.5}, "per_label": rows}, pool.now)
    for n, label in enumerate(gate):
        found = pool.store._db.query(
            "SELECT p.artifact, x.row FROM prediction p, label l, patch x"
            " WHERE l.artifact = ? AND x.id = l.patch_id AND p.volume_id = x.volume_id",
            [label.artifact],
        )
        (where,) = found
        folder = pool.workspace.artifacts.path(where["artifact"])
        folder.mkdir(parents=True)
        unsure = np.full(8, 0.9, np.float32)
        unsure[where["row"]] = np.nan if n == 9 else 0.4 - 0.03 * n
        np.savez(folder / "patches.npz", entropy_fg=unsure)
    pool.store._db.execute("UPDATE prediction SET confidence = 0.3 + 0.01 * volume_id")
    yield pool
    pool.close()


def test_confidence_is_calibrated_on_held_out_patches_and_names_the_worst(scored: Pool, db: sqlite3.Connection) -> None:
    before = quality(db)
    assert before is not None and before.worst[0].dice is None and "0 held-out patches" in before.why
    scored.engine.tick()
    expected = [(pytest.approx(0.6 + 0.03 * n), 0.5 + 0.04 * n) for n in range(9)]  # the tenth saw nothing
    assert points(db, MODEL) == expected
    seen = quality(db)
    assert seen is not None and seen.why == "" and seen.n_empty == 0
    assert [v.confidence for v in seen.worst] == pytest.approx([0.31, 0.32, 0.33])
    # Dice = 0.5 + 4/3 (confidence - 0.6), to the right of all of them
    assert seen.worst[0].dice == pytest.approx(0.5 + 4 / 3 * (0.31 - 0.6)) and seen.worst[0].beyond
    assert scored.store.predictions.uncalibrated(MODEL) == []
    again, labels = scored.store.predictions, scored.store.labels.current()
    (held_out, *_) = [label.volume_id for label in labels if label.role == "gate"]
    again.add(held_out, MODEL, scored.artifact("predict-again"), 3, scored.now, 0.9)
    assert len(again.uncalibrated(MODEL)) == 1
    shot = snapshot(scored.workspace.root, scored.now)
    assert json.loads(json.dumps(shot.to_json()))["quality"]["worst"][0]["volume"] == "stack_00000.tif"


def test_advice_is_given_once_after_every_round(scored: Pool, db: sqlite3.Connection) -> None:
    scored.store._db.execute("DELETE FROM advice")  # what was said before the model was scored
    scored.engine.tick()
    scored.engine.tick()
    given = advice(db)
    assert given is not None and given.round == 1 and given.gain is None
    assert given.words == "too few rounds to say what more labels would bring (1 scored, 3 needed)"
    assert db.execute("SELECT COUNT(*) FROM advice").fetchone()[0] == 1
    assert scored.store.predictions.round_without_advice() is None
