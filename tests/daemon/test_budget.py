"""At its budget a workspace lets caches go, then holds new work back; nothing fails, files are noticed, labels accepted."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alcore.stages.sam_embedding import CACHE as SAM
from daemon.caches import parts
from daemon.retention import NEAR, ROOM_AGAIN, pressure, to_shed
from daemon.usage import CACHE, Measuring, bytes_of, walked
from tests.daemon.play import Stage

MB = 1_000_000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, training={"every": 50}, selection={"queue_depth": 2})
    made.drop("a.tif", b"one")
    made.run()
    with contextlib.closing(made.store):
        yield made


def put(path: Path, n_bytes: int, used: float | None = None) -> Path:
    """A file that takes room for real."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(n_bytes))
    if used is not None:
        os.utime(path, (used, used))
    return path


def limit(stage: Stage, n_bytes: float) -> None:
    """Restart with such a budget."""
    disk = stage.settings.disk.model_copy(update={"budget_gb": n_bytes / 1e9})
    stage.settings = stage.settings.model_copy(update={"disk": disk})
    stage.store.close()
    stage.open()
    stage.engine.pulse()


def used(stage: Stage) -> int:
    stage.engine.budget.measuring.ended = float("-inf")
    stage.engine.pulse()
    found = stage.engine.budget.used()
    assert found is not None
    return found


def disk_problems(stage: Stage) -> list[str]:
    return [p.message for p in stage.shot().problems if p.kind == "disk"]


def test_at_its_budget_nothing_fails_and_what_people_do_goes_on(stage: Stage) -> None:
    limit(stage, 0)  # SQLite has folded its log, as it has after the next restart
    base = used(stage)
    mine = put(stage.workspace.rejected / "mine.tif", 8 * MB)
    limit(stage, base + 6 * MB)
    orders = len(stage.executor.orders)
    (message,) = disk_problems(stage)
    assert "disk.budget_gb" in message and "no new work" in message
    stage.drop("b.tif", b"two")  # an acquisition arrives
    stage.label("s00001")  # and a label
    stage.run()
    shot = stage.shot()
    assert [o.stage for o in stage.executor.orders[orders:]] == ["label"]
    assert shot.volumes["arriving"] == 1 and shot.volumes["ingested"] == 1
    assert shot.labels["accepted"] == 1 and "failed" not in shot.jobs
    assert [(a.kind, a.subject) for a in shot.alarms if a.kind == "disk"] == [("disk", "budget")]
    assert "disk.budget_gb" in stage.engine.waits_for
    stage.restart()
    assert stage.engine.budget.full  # before it has measured anything
    stage.run()
    assert stage.stages() == []
    mine.unlink()
    stage.engine.pulse()
    assert disk_problems(stage) == []
    stage.run()
    assert stage.shot().volumes["ingested"] == 2 and "failed" not in stage.shot().jobs
    told = [r["message"] for r in stage.store._db.query("SELECT message FROM event WHERE kind = 'disk'")]
    assert told == [message, "the workspace is within its budget again (disk.budget_gb)"]


def test_near_it_caches_go_the_oldest_first_and_no_more_than_needed(stage: Stage) -> None:
    cache = stage.workspace.places.cache
    cases = cache / "nnunet" / "cases-x"
    for n, age in enumerate((30, 10, 20)):
        put(cases / f"case_{n}.b2nd", 2 * MB, 1e9 - age)
        put(cases / f"case_{n}_seg.b2nd", 1000)
        put(cases / f"case_{n}.pkl", 1000)
    limit(stage, 0)
    total = used(stage)
    limit(stage, (total - 3 * MB) / NEAR)  # two of them have to go
    assert sorted(p.name for p in cases.glob("*")) == ["case_1.b2nd", "case_1.pkl", "case_1_seg.b2nd"]
    assert stage.engine.budget.standing == "" and disk_problems(stage) == []


def test_caches_in_use_are_left_alone(stage: Stage) -> None:
    cache = stage.workspace.places.cache
    put(cache / "nnunet" / "cases-x" / "case_1.b2nd", 10)
    put(cache / "index" / "rows.bin", 10)
    mine, other = (put(cache / SAM / name / "features.npy", 10).parent for name in ("package-1", "package-2"))

    def left(running: set[str]) -> set[str]:
        return {c.files[0].name for c in parts(stage.workspace, running, {mine.name})}

    assert left(set()) == {"case_1.b2nd", "index", other.name}
    assert left({"finetune"}) == {"index", other.name}
    assert left({"suggestions", "pretrain"}) == {other.name}
    assert left({"sam_embedding"}) == {"case_1.b2nd", "index"}


def test_killed_while_caches_go_nothing_half_is_taken_for_a_cache(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = stage.workspace.places.cache / "nnunet" / "cases-x"
    for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
        put(cases / f"case_1{suffix}", MB)

    class KilledError(BaseException):
        pass

    def die(self: Path, missing_ok: bool = False) -> None:
        if self.name.endswith("_seg.b2nd"):
            raise KilledError
        os.unlink(self)

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KilledError):
        limit(stage, MB)
    assert not (cases / "case_1.b2nd").exists()  # the one by which it is found
    monkeypatch.undo()
    stage.restart()
    stage.engine.pulse()
    assert stage.engine.budget.full


def test_without_a_budget_it_is_measured_all_the_same(stage: Stage) -> None:
    put(stage.workspace.rejected / "mine.tif", 50 * MB)
    assert used(stage) > 50 * MB
    room = stage.shot().room
    assert room is not None and room.kinds["rejected/"] > 50 * MB and room.budget_bytes == 0
    assert room.kinds["database"] > 0 and room.total == stage.engine.budget.used()
    assert not stage.engine.budget.full


def test_a_budget_that_config_toml_names_later_is_in_force_at_once(stage: Stage) -> None:
    base, before = used(stage), stage.engine
    disk = stage.settings.disk.model_copy(update={"budget_gb": base / 2e9})
    stage.engine = before.with_settings(stage.settings.model_copy(update={"disk": disk}), None)
    assert stage.engine.budget.measuring is before.budget.measuring
    stage.engine.pulse()
    stage.drop("b.tif", b"two")
    stage.run()
    assert stage.shot().volumes["ingested"] == 1 and len(disk_problems(stage)) == 1
    again = stage.engine.with_settings(stage.settings, None)
    again.pulse()
    assert disk_problems(stage) == [] and not again.dispatch.budget.full


# measuring


def test_measuring_takes_its_time_in_small_steps(tmp_path: Path) -> None:
    for n in range(500):
        put(tmp_path / "cache" / f"d{n % 7}" / str(n), 5000)
    whole = sum(n for _, n in walked(tmp_path))
    assert whole >= bytes_of(tmp_path / "cache") - bytes_of(Path(os.devnull)) - 4096
    measuring, steps = Measuring(tmp_path), 1
    while not measuring.step(0.0, False, budget_s=0.0):
        assert measuring.others is None
        steps += 1
    assert measuring.others is not None and sum(measuring.others.values()) == whole and steps > 5
    assert not measuring.step(599.0, False) and measuring._walk is None  # a rest
    assert not measuring.step(599.0, True, budget_s=0.0) and measuring._walk is not None
    measuring.shed(1000)
    assert measuring.others[CACHE] == whole - 1000


def test_links_are_not_followed_and_what_vanishes_does_not_count(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "big", 5 * MB)
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "link").symlink_to(tmp_path / "elsewhere")
    gone = put(tmp_path / "queue" / "x" / "gone", MB)
    walk = walked(tmp_path)
    found = []
    for kind, n in walk:
        found.append(n)
        if kind == "queue/" and gone.exists():
            gone.unlink()
            gone.parent.rmdir()
    assert sum(found) < MB


# the rules


def test_there_has_to_be_a_margin_before_it_goes_on() -> None:
    assert [pressure(n, 100.0, False) for n in (0, 89, 90, 99, 100, 150)] == ["", "", "near", "near", "full", "full"]
    assert [pressure(n, 100.0, True) for n in (89, 96, 97, 100)] == ["", "near", "full", "full"]
    assert ROOM_AGAIN < 1.0 and pressure(1e12, 0.0, False) == "" == pressure(None, 1.0, True)


def test_the_oldest_go_first_and_no_more_than_needed() -> None:
    """Against a second way to say it: every set of the oldest, the smallest that suffices."""
    for ages in itertools.permutations((1.0, 2.0, 3.0, 4.0)):
        caches = [(age, size) for age, size in zip(ages, (10, 20, 30, 40), strict=True)]
        oldest = sorted(range(4), key=lambda i: caches[i][0])
        for too_much in (-5.0, 0.0, 5.0, 10.0, 35.0, 99.0, 1000.0):
            enough = [k for k in range(5) if sum(caches[i][1] for i in oldest[:k]) >= too_much]
            assert to_shed(caches, too_much) == oldest[: enough[0] if enough else 4]
