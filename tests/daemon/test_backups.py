"""Backups are whole or not there, damaged databases are never deleted, and labels on the disk are found again."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alcore.artifact import ArtifactStore
from alcore.stage import Input
from daemon.backing import AGAIN_S, Backing
from daemon.config import from_mapping
from daemon.errors import DamagedError, UsageError, WorkspaceError
from daemon.found import Finding, write_record
from daemon.rescue import open_store
from daemon.retention import DAY_S, backup_due
from daemon.store.backups import FOLDER, HAND, NIGHTLY, UPDATE, back_up, listing, newest_good, prune, put_back
from daemon.store.connection import DATABASE, open_writer
from daemon.store.integrity import unsound
from daemon.store.rows import Picked
from daemon.store.schema import migrations
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.sightings import settled

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


def overwrite(path: Path) -> None:
    """As a failing disk does: rubbish in the middle."""
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(4096 * 20))


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


# labels


def settings(workspace: Workspace):
    raw = {"workspace": str(workspace.root), "watch": [{"folder": str(workspace.root.parent / "in")}]}
    return from_mapping(raw, workspace.root.parent / "config.toml")


def read_again(store: Store, sha: str = "aa") -> int:
    """The watched folder is scanned, and its volume read."""
    path, fingerprint = b"/in/a.tif", '{"ino": "a"}'
    store.sources.settled(settled(path, fingerprint), NOW)
    (source,) = store.sources.to_read(True)
    store.learning.add_artifact(f"volume-{sha}", "volume", 1, 0.1, NOW)
    info = {"shape": [1, 8, 64, 64], "dtype": "uint8", "voxel_um": None, "voxel_source": "unknown", "stats": []}
    patches = [{"start": [0, 0, 16 * i], "shape": [8, 64, 16]} for i in range(4)]
    volume = {"info": info | {"sha256": sha}, "patches": patches, "notes": [], "part": "", "folder": "", "read": {}}
    result = {"volumes": [volume], "refused": []}
    (made,) = store.volumes.ingest(source.id, fingerprint, f"volume-{sha}", result, NOW)
    return made


def labelled(store: Store, workspace: Workspace, volume: int, row: int, author: str, now: float) -> tuple[str, str]:
    """A label of a patch, as the daemon takes it from the inbox; returns its suggestion and its artifact."""
    sql = "SELECT s.id FROM suggestion s JOIN patch p ON p.id = s.patch_id WHERE p.row = ?"
    known = list(store.selection._db.query(sql, [row]))
    name = known[0]["id"] if known else store.annotation.suggest([Picked(volume, row, 0.5, "far")], now)[0]
    suggestion = store.annotation.suggestion(name)
    number = store.labels.receive(suggestion, b"/inbox/x.tif", f"sha{now}", {"user": author}, now)
    (received,) = store.labels.received("id = ?", [number])
    (workspace.root / received.file).write_bytes(f"drawn at {now}".encode())
    page = {"suggestion": name, "box": {"start": [0, 0, 16 * row], "shape": [8, 64, 16]}, "volume_sha256": "aa"}
    result = {"n_objects": 3, "seen_fraction": 0.5, "warnings": ["looks odd"]}

    def fill(out: Path) -> dict:
        (out / "label.tif").write_bytes(b"label")
        (out / "label.json").write_text(json.dumps(page | result))
        return result

    key = f"label-{number:040d}"
    inputs = {"file": [Input(workspace.root / received.file, f"sha256:{received.sha256}")]}
    ArtifactStore(workspace.root / "artifacts").create(
        key, "label", 3, {"suggestion": name, "received": number}, inputs, fill
    )
    store.learning.add_artifact(key, "label", 1, 0.1, now)
    store.labels.accept(received, key, "gate" if row == 1 else "train", 3, ["looks odd"], now, 0.5)
    (workspace.labels / f"{name}.tif").write_bytes(b"label")
    return name, key


def counting(path: Path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        sql = (
            "SELECT p.row, l.artifact, l.author, l.role, l.accepted_at, l.seen, l.n_objects FROM label l"
            " JOIN patch p ON p.id = l.patch_id WHERE l.superseded_by IS NULL ORDER BY p.row"
        )
        return db.execute(sql).fetchall()


@pytest.mark.parametrize("records", [True, False], ids=["with what lies beside labels", "older workspace"])
def test_labels_are_found_again_when_the_database_is_lost(workspace: Workspace, records: bool) -> None:
    path = workspace.root / DATABASE
    with contextlib.closing(Store(workspace.root)) as store:
        volume = read_again(store)
        labelled(store, workspace, volume, 0, "ana", NOW + 1)
        labelled(store, workspace, volume, 1, "ben", NOW + 2)
        labelled(store, workspace, volume, 0, "eva", NOW + 3)  # a better one
        name, _ = labelled(store, workspace, volume, 2, "ana", NOW + 4)
        store.labels.withdraw(store.annotation.suggestion(name), NOW + 5)
        (workspace.labels / f"{name}.tif").unlink()
        if records:
            for number in range(1, 5):
                write_record(workspace, store.found, number)
        else:
            for number, file in enumerate(sorted((workspace.root / "artifacts").glob("??/*/manifest.json"))):
                os.utime(file, (NOW + number + 1, NOW + number + 1))
    before = counting(path)
    assert [(r[0], r[2]) for r in before] == [(0, "eva"), (1, "ben")]
    (workspace.queue / "s00009").mkdir()
    (workspace.queue / "s00009" / "notes.txt").write_text("mine")
    overwrite(path)

    with contextlib.closing(open_store(workspace, NOW + 9)) as store:
        finding = Finding(store, workspace, settings(workspace))
        finding.find(NOW + 9)
        finding.find(NOW + 9)
        assert finding.bring(NOW + 9) == 0
        problems = list(store.state._db.query("SELECT message FROM problem WHERE kind = 'found'"))
        assert "found on the disk" in problems[0]["message"]
        new = read_again(store)
        assert new == volume
        finding.bring(NOW + 10)
        assert finding.bring(NOW + 11) == 0
        assert not list(store.state._db.query("SELECT 1 FROM problem WHERE kind = 'found'"))
        for received in store.labels.received("1"):
            assert (workspace.root / received.file).read_bytes().startswith(b"drawn at")
    after = counting(path)
    assert [(r[0], r[1], r[5], r[6]) for r in after] == [(r[0], r[1], r[5], r[6]) for r in before]
    if records:
        assert after == before
    assert next(workspace.found.glob("*/queue/s00009/notes.txt")).read_text() == "mine"
    assert not list(workspace.queue.iterdir())


def test_labels_since_a_backup_are_found_again(workspace: Workspace) -> None:
    path = workspace.root / DATABASE
    with contextlib.closing(Store(workspace.root)) as store:
        volume = read_again(store)
        labelled(store, workspace, volume, 0, "ana", NOW + 1)
        copy = back_up(workspace.root, NIGHTLY, NOW + 2)
        labelled(store, workspace, volume, 1, "ben", NOW + 3)
        labelled(store, workspace, volume, 0, "eva", NOW + 4)
        for number in (2, 3):
            write_record(workspace, store.found, number)
    before = counting(path)
    from daemon.found import RESTORED, ask_for_it

    put_back(workspace.root, copy, NOW + 5, lambda: ask_for_it(workspace, RESTORED, "put back", NOW + 5))
    assert [r[2] for r in counting(path)] == ["ana"]
    with contextlib.closing(open_store(workspace, NOW + 6)) as store:
        finding = Finding(store, workspace, settings(workspace))
        finding.find(NOW + 6)
        assert finding.bring(NOW + 6) == 2
    assert counting(path) == before
    assert (workspace.labels / "received" / "s00001-00001.tif").exists(), "known to the backup: it stays"
