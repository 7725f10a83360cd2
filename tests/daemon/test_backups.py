"""Backups are whole or not there, and damaged databases are never deleted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.backing import AGAIN_S, Backing
from daemon.errors import DamagedError, UsageError, WorkspaceError
from daemon.found import Finding
from daemon.rescue import open_store
from daemon.retention import DAY_S, backup_due
from daemon.store.backups import FOLDER, HAND, NIGHTLY, UPDATE, back_up, listing, newest_good, prune, put_back
from daemon.store.connection import DATABASE, open_writer
from daemon.store.integrity import unsound
from daemon.store.schema import migrations
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.rescues import overwrite, settings

NOW = 1_800_000_000.0
BOX = {"start": [0, 0, 0], "shape": [8, 64, 16]}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "ws")
    made.make()
    return made


def said(root: Path, message: str, now: float = NOW) -> None:
    with contextlib.closing(Store(root)) as store:
        store.state.event("daemon", message, now)


def events(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [r[0] for r in db.execute("SELECT message FROM event ORDER BY id")]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def no_database(path: Path) -> None:
    path.write_bytes(b"this is a text\n" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = [overwrite, cut, no_database, empty, Path.unlink]


def test_a_backup_is_made_each_night_and_not_twice() -> None:
    two = 20_000 * DAY_S + 2 * 3600.0  # two o'clock in UTC
    assert backup_due(None, two, 0)
    assert not backup_due(two + 60, two + DAY_S - 1, 0)
    assert backup_due(two + 60, two + DAY_S, 0)
    assert backup_due(two - 60, two, 0)
    assert not backup_due(two - 60, two, -3600), "it is one o'clock there"
    assert backup_due(two + 10 * DAY_S, two, 0), "the clock was set back"


def at_once(call: Callable[[], None]) -> None:
    call()


def test_the_daemon_goes_on_while_a_backup_is_made(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a large database: held up in the middle, while the store is written to."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(path: Path) -> str:
        begun.set()
        return "" if go_on.wait(30) else "nobody let it go on"

    monkeypatch.setattr("daemon.store.backups.unsound", slowly)
    with contextlib.closing(Store(workspace.root)) as store:
        store.state.problem("backup", "database", "the last one failed", NOW)
        backing = Backing(store, workspace, keep=3)
        assert backing.run(NOW)
        assert begun.wait(30)
        store.state.event("daemon", "meanwhile", NOW)
        assert not backing.run(NOW + AGAIN_S), "one at a time"
        assert listing(workspace.root) == []
        go_on.set()
        until = time.monotonic() + 30
        while backing.making and time.monotonic() < until:
            backing.tell(NOW + 1)
            time.sleep(0.01)
        assert not list(store.state._db.query("SELECT 1 FROM problem WHERE kind = 'backup'"))
        assert not backing.run(NOW + 60)
    assert [b.kind for b in listing(workspace.root)] == [NIGHTLY]


def test_nightly_backups_are_kept_in_number_and_those_of_people_stay(workspace: Workspace) -> None:
    with contextlib.closing(Store(workspace.root)) as store:
        backing = Backing(store, workspace, keep=3, beside=at_once)
        by_hand = back_up(workspace.root, HAND, NOW - 100 * DAY_S)
        for day in range(6):
            store.state.event("daemon", f"day {day}", NOW)
            assert backing.run(NOW + day * DAY_S)
            assert not backing.run(NOW + day * DAY_S + 60)
    found = listing(workspace.root)
    assert [b.kind for b in found] == [NIGHTLY] * 3 + [HAND]
    assert found[-1].path == by_hand
    assert events(found[0].path)[-1] == "day 5"
    assert all(b.path.stat().st_mode & 0o007 == 0 for b in found)


def test_the_only_sound_backup_is_not_pruned(workspace: Workspace) -> None:
    said(workspace.root, "one")
    for day in range(4):
        back_up(workspace.root, NIGHTLY, NOW + day * DAY_S)
    *broken, oldest = listing(workspace.root)
    for backup in broken:
        cut(backup.path)
    prune(workspace.root, 2)
    best = newest_good(workspace.root)
    assert best is not None and best.path == oldest.path


def test_a_failed_backup_leaves_the_old_ones_and_is_said(workspace: Workspace) -> None:
    said(workspace.root, "one")
    before = back_up(workspace.root, NIGHTLY, NOW)
    with contextlib.closing(Store(workspace.root)) as store:
        backing = Backing(store, workspace, keep=1, beside=at_once)
        folder = workspace.root / FOLDER
        os.rename(folder, workspace.root / "elsewhere")
        folder.write_text("no folder")  # as good as a disk that takes nothing
        assert backing.run(NOW + DAY_S)
        assert "backups" in next(store.state._db.query("SELECT message FROM problem WHERE kind = 'backup'"))["message"]
        folder.unlink()
        os.rename(workspace.root / "elsewhere", folder)
        assert before.exists()
        assert not backing.run(NOW + DAY_S + 60), "not at once again"
        assert backing.run(NOW + DAY_S + AGAIN_S)
        assert not list(store.state._db.query("SELECT 1 FROM problem WHERE kind = 'backup'"))
        assert len(listing(workspace.root)) == 1 and not before.exists()
        assert not list(folder.glob(".*"))


def test_an_older_database_is_copied_before_it_is_changed(workspace: Workspace) -> None:
    db = open_writer(workspace.root / DATABASE)
    migrations().apply(db, stop_before="0017_looks")
    db.close()
    Store(workspace.root).close()
    Store(workspace.root).close()
    (made,) = listing(workspace.root)
    assert made.kind == UPDATE
    with contextlib.closing(sqlite3.connect(made.path)) as copy:
        assert "0017_looks" not in [r[0] for r in copy.execute("SELECT name FROM _sqlite_migrations")]


@pytest.mark.parametrize("damage", DAMAGE)
def test_with_a_sound_backup_people_choose(workspace: Workspace, damage) -> None:
    said(workspace.root, "before")
    copy = back_up(workspace.root, NIGHTLY, NOW)
    said(workspace.root, "after")
    path = workspace.root / DATABASE
    damage(path)
    left = path.read_bytes() if path.exists() else None
    for _ in range(2):  # the service manager starts it again
        with pytest.raises(WorkspaceError, match=r"`alscope restore` puts it back"):
            open_store(workspace, NOW)
    assert (path.read_bytes() if path.exists() else None) == left, "nobody asked for a change"
    replaced = put_back(workspace.root, copy, NOW, lambda: None)
    assert (replaced is None) == (left is None)
    assert replaced is None or replaced.read_bytes() == left
    with contextlib.closing(open_store(workspace, NOW)):
        assert events(path) == ["before"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_without_a_backup_a_new_database_is_begun_and_the_old_one_kept(workspace: Workspace, damage) -> None:
    said(workspace.root, "before")
    (workspace.root / "artifacts" / "ab" / "volume-abc").mkdir(parents=True)
    path = workspace.root / DATABASE
    damage(path)
    left = path.read_bytes() if path.exists() else None
    with contextlib.closing(open_store(workspace, NOW)) as store:
        Finding(store, workspace, settings(workspace)).find(NOW)
        (word,) = events(path)
    assert "no sound backup" in word and "Lost: " in word
    aside = list(workspace.root.glob(f"{DATABASE}.damaged-*"))
    assert [p.read_bytes() for p in aside] == ([] if left is None else [left])
    with contextlib.closing(open_store(workspace, NOW)):
        assert unsound(path) == ""


def test_a_first_start_is_no_rescue(workspace: Workspace) -> None:
    (workspace.root / DATABASE).write_bytes(b"")
    open_store(workspace, NOW).close()
    assert sorted(p.name for p in workspace.root.glob("*.json")) == []


def test_what_cannot_be_restored_changes_nothing(workspace: Workspace) -> None:
    said(workspace.root, "here")
    other = workspace.root / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE t (x)")
    newer = back_up(workspace.root, HAND, NOW)
    with contextlib.closing(sqlite3.connect(newer)) as db:
        db.execute("INSERT INTO _sqlite_migrations SELECT 'alscope', '9999_far', applied_at FROM _sqlite_migrations LIMIT 1"
                   if "migration_set" not in [r[1] for r in db.execute("PRAGMA table_info(_sqlite_migrations)")]
                   else "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                   " SELECT migration_set, '9999_far', applied_at FROM _sqlite_migrations LIMIT 1")  # fmt: skip
        db.commit()
    for source, words in (
        (other, "no database of alscope"),
        (newer, "a newer alscope"),
        (workspace.root / "x", "no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            put_back(workspace.root, source, NOW, lambda: pytest.fail("it began"))
    assert events(workspace.root / DATABASE) == ["here"]
    assert not list(workspace.root.glob(f"{DATABASE}.replaced*"))


def test_a_store_refuses_a_damaged_database(workspace: Workspace) -> None:
    said(workspace.root, "here")
    overwrite(workspace.root / DATABASE)
    with pytest.raises(DamagedError, match="alscope restore --list"):
        Store(workspace.root)
