"""Labels on the disk are found again when the database is lost or older than they are."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

import pytest

from alcore.artifact import ArtifactStore
from alcore.stage import Input
from daemon.found import RESTORED, Finding, ask_for_it, write_record
from daemon.rescue import open_store
from daemon.store.backups import NIGHTLY, back_up, put_back
from daemon.store.connection import DATABASE
from daemon.store.rows import Picked
from daemon.store.store import Store
from daemon.workspace import Workspace
from tests.daemon.rescues import overwrite, settings
from tests.daemon.sightings import settled

NOW = 1_800_000_000.0
BOX = {"start": [0, 0, 0], "shape": [8, 64, 16]}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "ws")
    made.make()
    return made


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
    put_back(workspace.root, copy, NOW + 5, lambda: ask_for_it(workspace, RESTORED, "put back", NOW + 5))
    assert [r[2] for r in counting(path)] == ["ana"]
    with contextlib.closing(open_store(workspace, NOW + 6)) as store:
        finding = Finding(store, workspace, settings(workspace))
        finding.find(NOW + 6)
        assert finding.bring(NOW + 6) == 2
    assert counting(path) == before
    assert (workspace.labels / "received" / "s00001-00001.tif").exists(), "known to the backup: it stays"
