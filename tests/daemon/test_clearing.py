"""Segmentations go when their model is out of use for good; what is shown, and what may come back, stays; what went comes again."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.clearing import EVERY_S, Clearing
from daemon.pages import PageKeeper
from daemon.retention import DAY_S, kept_models, last_used
from tests.daemon.pool import MODEL, Pool
from tests.pages import written

A = MODEL


class Shop:
    """A pool of two volumes at rest, segmented by model A; with files for every segmentation."""

    def __init__(self, root: Path, keep_models: int = 2, keep_days: float = 0.0) -> None:
        self.pool = Pool(root, prediction={"keep_models": keep_models, "keep_days": keep_days}).at_rest(2)
        self.pool.executor.slots = {False: 0, True: 0}
        for job in self.pool.store._db.query("SELECT key FROM job WHERE stage = 'predict'"):
            self.files(job["key"])

    def files(self, key: str) -> None:
        folder = self.pool.workspace.artifacts.path(key)
        folder.mkdir(parents=True)
        for name in ("manifest.json", "instances.tif"):
            (folder / name).write_text("{}")
        folder.chmod(0o550)

    def promote(self, version: str, how: str = "hand") -> None:
        store = self.pool.store
        if store.learning.model(version) is None:
            key = self.pool.artifact(f"finetune-{version}")
            store.learning.add_model(version, "finetuned", "retired", key, None, [], "", self.pool.now)
        store.models.promote(version, how, "ana", "to see it", self.pool.now)

    def segmented(self, version: str, *volumes: int) -> None:
        """What is wanted of these volumes is done, and shown."""
        self.pool.engine.tick()
        for job in self.pool.store.jobs.ready(99, stages=["predict"]):
            assert job.volume_id is not None
            if job.volume_id in volumes:
                self.pool.finish(job.id, {"n_objects": 1})
                self.files(job.key)
                self.pool.store.predictions.add(job.volume_id, version, job.key, 1, self.pool.now)
                self.pool.store.predictions.shown(job.volume_id, version)

    def clear(self) -> int:
        """By a daemon that has just started."""
        keeper = PageKeeper(self.pool.workspace.artifacts)
        return Clearing(self.pool.store, self.pool.workspace, *self.kept, keeper).run(self.pool.now)

    @property
    def kept(self) -> tuple[int, float]:
        prediction = self.pool.settings.prediction
        return prediction.keep_models, prediction.keep_days

    def there(self) -> set[tuple[str, int]]:
        """(model, volume) of every segmentation that is on record; its files are there, and no others."""
        rows = list(self.pool.store._db.query("SELECT model, volume_id, artifact FROM prediction"))
        on_disk = {p.parent.name for p in self.pool.workspace.artifacts.root.glob("[!.]*/predict-*/manifest.json")}
        assert on_disk == {r["artifact"] for r in rows}
        return {(r["model"], r["volume_id"]) for r in rows}

    def shown(self) -> dict[int, str]:
        rows = self.pool.store._db.query("SELECT model, volume_id FROM prediction WHERE published = 1")
        return {r["volume_id"]: r["model"] for r in rows}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    with contextlib.closing(made.pool):
        yield made


def test_the_model_in_use_and_the_one_before_keep_theirs(shop: Shop) -> None:
    for version in "BC":
        assert shop.clear() == 0
        shop.promote(version)
        shop.segmented(version, 1, 2)
    assert shop.there() == {(m, v) for m in (A, "B", "C") for v in (1, 2)}
    assert shop.clear() == 2
    assert shop.there() == {(m, v) for m in "BC" for v in (1, 2)}
    assert shop.clear() == 0
    events = [e["message"] for e in shop.pool.store._db.query("SELECT message FROM event WHERE kind = 'predict'")]
    assert events == ["2 segmentations by models out of use cleared away (prediction.keep_models, keep_days)"]


def test_what_is_shown_stays_until_the_new_one_is_complete(shop: Shop) -> None:
    shop.promote("B")
    shop.segmented("B", 1)
    shop.promote("C")
    shop.promote("D")
    assert shop.shown() == {1: "B", 2: A}
    assert shop.clear() == 1  # of A, the first volume, which B has segmented
    assert shop.there() == {("B", 1), (A, 2)}
    shop.segmented("D", 2)
    assert shop.clear() == 1
    assert shop.there() == {("B", 1), ("D", 2)}


def test_rolled_back_to_a_model_whose_segmentations_went_they_are_made_again(shop: Shop) -> None:
    for version in "BC":
        shop.promote(version)
        shop.segmented(version, 1, 2)
    shop.clear()
    shop.promote("B", "rollback")
    shop.pool.engine.tick()
    assert shop.pool.store.jobs.ready(9, stages=["predict"]) == []  # those of B are there
    shop.promote(A, "rollback")
    shop.pool.engine.tick()
    ready = shop.pool.store.jobs.ready(9, stages=["predict"])
    assert {job.volume_id for job in ready} == {1, 2}
    assert shop.shown() == {1: "B", 2: "B"}
    assert shop.clear() == 2  # of C
    assert shop.there() == {("B", 1), ("B", 2)}
    shop.segmented(A, 1, 2)
    assert shop.clear() == 2
    assert shop.there() == {(A, 1), (A, 2)}


def test_days_keep_them_longer(tmp_path: Path) -> None:
    shop = Shop(tmp_path, keep_models=1, keep_days=3.0)
    with contextlib.closing(shop.pool):
        shop.promote("B")
        shop.segmented("B", 1, 2)
        for _ in range(3):
            assert shop.clear() == 0
            shop.pool.now += 0.99 * DAY_S
        shop.pool.now += DAY_S
        assert shop.clear() == 2


def test_segmented_again_in_another_way_the_former_goes_after_some_days(tmp_path: Path) -> None:
    shop = Shop(tmp_path, keep_days=3.0)
    with contextlib.closing(shop.pool):
        key = shop.pool.artifact("predict-another", "predict")
        shop.files(key)
        shop.pool.store.predictions.add(1, A, key, 7, shop.pool.now)
        shop.pool.now += 2.9 * DAY_S
        assert shop.clear() == 0
        shop.pool.now += 0.2 * DAY_S
        assert shop.clear() == 1
        assert shop.there() == {(A, 1), (A, 2)}


def test_not_while_a_job_may_read_them_and_not_all_the_time(shop: Shop) -> None:
    for version in "BC":
        shop.promote(version)
        shop.segmented(version, 1, 2)
    pool = shop.pool
    (read,) = pool.store._db.query("SELECT artifact FROM prediction WHERE model = ? AND volume_id = 1", [A])
    page = written(pool.workspace.artifacts, [{"volume": "volume-1", "prediction": read["artifact"]}])
    inputs = {"page": [item.to_json() for item in page]}
    pool.store._db.execute(
        "INSERT INTO job (key, stage, spec, subject, state, priority, inputs, params, created_at)"
        " VALUES ('s-1', 'suggestions', 's', 'pool', 'ready', 1, ?, '{}', 0)",
        [json.dumps(inputs)],
    )
    hands = Clearing(pool.store, pool.workspace, *shop.kept, PageKeeper(pool.workspace.artifacts))
    assert hands.run(pool.now) == 1
    assert (A, 1) in shop.there()
    pool.store._db.execute("DELETE FROM job WHERE key = 's-1'")
    assert hands.run(pool.now) == 1
    assert hands.run(pool.now) == 0  # nothing is left: from now on once an hour
    shop.promote("D")
    shop.segmented("D", 1, 2)
    assert hands.run(pool.now + EVERY_S / 2) == 0
    assert hands.run(pool.now + EVERY_S) == 2


def test_killed_in_the_middle_the_next_puts_it_right(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in "BC":
        shop.promote(version)
        shop.segmented(version, 1, 2)

    class KilledError(BaseException):
        pass

    def die(*args: object) -> None:
        raise KilledError

    with monkeypatch.context() as m:
        m.setattr("alcore.artifact.remove_tree", die)  # moved aside, nothing removed, nothing on record
        with pytest.raises(KilledError):
            shop.clear()
    with monkeypatch.context() as m:
        m.setattr(type(shop.pool.store.outgrown), "cleared", die)
        with pytest.raises(KilledError):
            shop.clear()
    assert shop.clear() == 2
    assert shop.there() == {(m, v) for m in "BC" for v in (1, 2)}
    shop.pool.engine.start()
    assert not list(shop.pool.workspace.artifacts.staging.iterdir())


def test_models_are_kept_by_place_and_by_time() -> None:
    """Against a second way to say it: step by step through the history."""
    history = [("A", 1.0), ("B", 2.0), ("A", 3.0), ("C", 4.0), ("D", 5.0)]
    assert last_used(history) == {"A": 4.0, "B": 3.0, "C": 5.0, "D": math.inf}
    pile = ["D", "C", "A", "B"]
    for n, days, now in itertools.product((1, 2, 3, 9), (0.0, 1.0, 2.5), (5.0, 6.0, 7.0)):
        kept = kept_models([(m, at * DAY_S) for m, at in history], pile, now * DAY_S, n, days)
        for place, model in enumerate(pile):
            ended = {"D": math.inf, "C": 5.0, "A": 4.0, "B": 3.0}[model]
            assert (model in kept) == (place < n or now - ended < days), (model, n, days, now)
    assert kept_models([], [], 0.0, 2, 1.0) == set()
