"""Databases as the code of every version wrote them, under the present code: nothing is lost, the figures are the same, work goes on."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alcore.run import key_of
from daemon.executors.perform import OUTDATED
from daemon.executors.port import Finished, Order
from daemon.look import look
from daemon.store import listing, queue_listing
from daemon.store.backups import HAND, UPDATE, back_up, put_back
from daemon.store.backups import listing as backups
from daemon.store.connection import DATABASE, open_reader
from daemon.store.store import Store
from tests.daemon.play import Stage, answer_all
from tests.daemon.scripted import results
from tests.daemon.store.make_version import OPTIONS, content
from tests.daemon.store.old_versions import known, numbers, restored, rows, said, schema, with_files

NEVER_LAST = {"0007": "0010", "0008": "0010", "0009": "0010", "0013": "0016"}
"""Migrations that came together with a later one: no code ever left a database that ends with them."""
WRITTEN_ANEW = {
    ("source", "fingerprint"): "0003",
    ("job", "subject"): "0004",
    ("job", "inputs"): "0005",
    ("job", "params"): "0005",
    ("job", "state"): "0007",
    ("job", "lease"): "0007",
}
"""What a migration changes on purpose in rows that were there, with the last migration that does."""
DROPPED = {("suggestion", "claimed_by"): "0008"}
"""Columns that are no more, with the migration that took them away."""
QUICK = {"0001", "0006", "0011", known()[-1]}
"""Where the engine goes on in every run of the tests; with -m slow it does on the others."""
UNFINISHED = ("waiting", "ready", "running")


def science(order: Order) -> Any:
    """What a worker of now says: bad.tif is bad, and a recipe of other code makes nothing that the daemon would find."""
    if key_of(order.stage, order.inputs, order.params) != order.key:
        return Finished(order.job_id, order.fence, "failed", OUTDATED, "transient")
    if order.stage == "volume" and order.inputs["source"][0].path.name == "bad.tif":
        words = f"{order.inputs['source'][0].path}: it is cut off"
        return Finished(order.job_id, order.fence, "failed", words, "permanent")
    return results(order)


@pytest.fixture(scope="module", params=known())
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def before(version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database as the code of then left it."""
    return restored(version, tmp_path_factory.mktemp(f"old-{version}"))


@pytest.fixture(scope="module")
def workspace(before: Path) -> Path:
    """A workspace with that database, brought up to date."""
    found = before.parent / "migrated"
    shutil.copytree(before, found)
    Store(found).close()
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that never had another database."""
    found = tmp_path_factory.mktemp("fresh")
    Store(found).close()
    return found


@pytest.fixture
def stage(version: str, tmp_path: Path) -> Iterator[Stage]:
    """The present engine on the database of that version, with all the files that it speaks of."""
    with_files(tmp_path, rows(restored(version, tmp_path) / DATABASE))
    made = Stage(tmp_path, science, **OPTIONS)
    with contextlib.closing(made.store):
        yield made


def test_every_migration_has_a_database() -> None:
    missing = [n for n in numbers() if n not in known() and NEVER_LAST.get(n) not in known()]
    assert not missing, f"{missing}: make it with `python -m tests.daemon.store.make_version`, see there"
    assert [n for n in known() if n not in numbers()] == []


def test_every_table_has_rows_in_the_newest_database() -> None:
    assert [table for table, n in said(known()[-1])["rows"].items() if not n] == []


def test_every_row_is_still_there(version: str, before: Path, workspace: Path) -> None:
    old, after = rows(before / DATABASE), rows(workspace / DATABASE)
    assert {table: len(held) for table, held in old.items()} == said(version)["rows"]
    old.pop("_sqlite_migrations")
    for table, held in old.items():
        assert set(after[table]) >= set(held), table
        for key, row in held.items():
            now = after[table][key]
            gone = {column for column in row if column not in now}
            assert all(version < DROPPED[table, column] for column in gone), (table, gone)
            other = {c for c in row if c not in gone and row[c] != now[c]}
            assert all(version < WRITTEN_ANEW.get((table, c), "") for c in other), (table, key, other)
            if table == "job" and "state" in other:
                assert (row["state"] in UNFINISHED, now["state"]) == (True, "cancelled"), row
            elif table == "job" and "params" in other:
                assert (row["stage"] in ("encoder", "suggestions"), row["state"]) == (True, "done"), row
    with contextlib.closing(sqlite3.connect(workspace / DATABASE)) as db:
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    Store(workspace).close()  # and once more, with nothing left to do
    assert rows(workspace / DATABASE) == after


def test_what_was_not_written_down_then_is_filled_in(before: Path, workspace: Path) -> None:
    old, new = rows(before / DATABASE), rows(workspace / DATABASE)
    if "promotion" not in old:
        rounds = [r for r in old["round"].values() if r["promoted"]]
        made = [(p["model"], p["how"], p["at"]) for p in new["promotion"].values()]
        assert made and made == [(r["model"], "round", r["finished_at"]) for r in rounds]
    if "source_part" not in old:
        linked = {(s["id"], s["volume_id"]) for s in old["source"].values() if s["volume_id"] is not None}
        assert linked and set(new["source_part"]) == linked
    counted = Counter(p["volume_id"] for p in new["patch"].values())
    assert {v["id"]: v["n_patches"] for v in new["volume"].values()} == counted
    assert {p["model"] for p in new["promotion"].values()} >= {
        m["version"] for m in new["model"].values() if m["state"] == "promoted"
    }


def test_it_is_like_a_new_one(workspace: Path, fresh: Path) -> None:
    assert schema(workspace / DATABASE) == schema(fresh / DATABASE)


def test_status_and_listings_say_what_the_old_code_said(workspace: Path, version: str) -> None:
    then, shot = said(version), look(workspace, time.time())
    sources, labels, asked = then["sources"], then["labels"], then["suggestions"]
    assert shot.volumes["ingested"] == then["volumes"]
    assert shot.volumes["set_aside"] == sources["set_aside"]
    assert shot.volumes["arriving"] == sources["arriving"] + sources["settled"]
    assert shot.volumes["gone"] == 1
    assert shot.volumes["predicted"] == then["published"]
    assert (shot.patches["total"], shot.patches["labelled"]) == (then["patches"], sum(labels.values()))
    assert {role: shot.labels[role] for role in labels} == labels
    assert (shot.labels["accepted"], shot.labels["rejected"]) == (sum(labels.values()), then["rejected"])
    waits = {state: n for state, n in asked.items() if state in queue_listing.WAITS}
    assert Counter(q.state for q in shot.queue) == waits
    assert [[m.version, m.state] for m in shot.models] == then["models"]
    assert [[r.round, r.state, r.n_labels, r.promoted] for r in shot.rounds] == then["rounds"]
    assert sum(shot.jobs.values()) == sum(then["jobs"].values())
    if version >= "0007":
        assert shot.jobs == then["jobs"]
    with contextlib.closing(open_reader(workspace / DATABASE)) as db:
        assert len(listing.sources(db, time.time())) == then["rows"]["source"]
        assert Counter(s.state for s in listing.sources(db, time.time()) if not s.gone) == sources
        assert len(listing.jobs(db, None, 0)) == then["rows"]["job"]
        received = listing.received(db)
        assert len(received) == then["rows"]["received"]
        assert Counter(r.role for r in received if r.current and r.role != "repeat") == labels
        names = [r[0] for r in db.execute("SELECT id FROM suggestion ORDER BY id")]
        shown = [queue_listing.suggestion(db, name) for name in names]
        assert Counter(s.state for s in shown if s is not None) == asked
        assert len(queue_listing.held_back(db)) == shot.patches["held_back"]


@pytest.mark.parametrize(
    "version", [pytest.param(v, marks=[] if v in QUICK else [pytest.mark.slow]) for v in known()], scope="module"
)
def test_the_engine_goes_on_and_loses_no_label(stage: Stage, version: str) -> None:
    counting = "SELECT id, artifact FROM label WHERE superseded_by IS NULL ORDER BY id"
    failed = "SELECT stage, error FROM job WHERE state = 'failed' AND error NOT LIKE '%/bad.tif: %' ORDER BY id"
    db, then = stage.store.state._db, said(version)
    before, failures = list(db.query(counting)), list(db.query(failed))
    in_check = [r["id"] for r in db.query("SELECT id FROM suggestion WHERE state = 'submitted'")]
    assert (len(before), len(in_check)) == (sum(then["labels"].values()), then["suggestions"]["submitted"])
    stage.run()
    assert [row for row in before if row not in list(db.query(counting))] == []
    assert [stage.store.annotation.suggestion(name).state for name in in_check] == ["accepted"] * len(in_check)
    assert stage.shot().volumes["ingested"] == then["volumes"] + 1  # late.tif was about to be read
    assert [row for row in db.query(failed) if row not in failures] == []
    stage.drop("z.tif", content("z.tif"))
    stage.run()
    assert answer_all(stage) > 0
    stage.run()
    shot = stage.shot()
    assert shot.volumes["ingested"] == then["volumes"] + 2
    assert shot.labels["accepted"] > len(before)
    assert [row for row in before if row not in list(db.query(counting))] == []
    assert [row for row in db.query(failed) if row not in failures] == []
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_it_can_be_backed_up_and_put_back(version: str, before: Path, workspace: Path, tmp_path: Path) -> None:
    root, now = tmp_path / "ws", time.time()
    shutil.copytree(workspace, root)
    old, new = rows(before / DATABASE), rows(root / DATABASE)
    copy = back_up(root, HAND, now)
    assert rows(copy) == new
    put_back(root, copy, now, lambda: None)
    assert rows(root / DATABASE) == new
    made = [b.path for b in backups(root) if b.kind == UPDATE]
    assert len(made) == (version < numbers()[-1])
    for path in made:  # the copy that was made before the schema was changed can be put back as well
        assert rows(path) == old
        put_back(root, path, now, lambda: None)
        assert rows(root / DATABASE) == old
        Store(root).close()
        assert rows(root / DATABASE).keys() == new.keys()
        assert rows(root / DATABASE)["label"] == new["label"]
