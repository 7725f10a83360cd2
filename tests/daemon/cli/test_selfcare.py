"""`alscope backup`, `restore` and `verify` on a workspace with results in it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from alcore.artifact import ArtifactStore
from daemon.store.connection import DATABASE


@pytest.fixture
def results(scene) -> Path:
    """An artifact of two files."""

    def fill(out: Path) -> dict:
        (out / "a.npy").write_bytes(b"numbers" * 100)
        (out / "deep").mkdir()
        (out / "deep" / "b.txt").write_text("words")
        return {}

    artifacts = ArtifactStore(scene.workspace.root / "artifacts")
    artifacts.create("embedding-0123", "embedding", 1, {}, {}, fill)
    return artifacts.path("embedding-0123")


def test_a_backup_can_be_put_back_only_while_no_daemon_runs(scene, alscope, tmp_path):
    scene.volume("a.tif")
    made = alscope("backup")
    assert made.code == 0 and "sound" in made.out
    elsewhere = tmp_path / "safe.db"
    assert alscope("backup", str(elsewhere)).code == 0
    assert "already" in alscope("backup", str(elsewhere)).err
    scene.volume("b.tif")
    scene.running()
    refused = alscope("restore")
    assert refused.code == 75 and "stop it first" in refused.err
    scene.close()
    (listed,) = alscope("restore", "--list", "--json").data
    assert (listed["why"], listed["unsound"]) == ("hand", "")
    done = alscope("restore")
    assert done.code == 0, done.err
    path = scene.workspace.root / DATABASE
    with closing(sqlite3.connect(path)) as db:
        assert [r[0] for r in db.execute("SELECT name FROM volume")] == ["a.tif"]
    (replaced,) = [p for p in path.parent.glob(f"{DATABASE}.replaced-*") if not p.name.endswith(("-wal", "-shm"))]
    with closing(sqlite3.connect(replaced)) as db:
        assert [r[0] for r in db.execute("SELECT name FROM volume ORDER BY id")] == ["a.tif", "b.tif"]
    assert "exclude each other" in alscope("restore", str(elsewhere), "--rebuild").err
    assert alscope("restore", str(elsewhere)).code == 0
    rebuilt = alscope("restore", "--rebuild")
    assert rebuilt.code == 0 and "lost: " in rebuilt.out and not path.exists()


def test_verify_is_content_with_what_was_written(scene, alscope, results):
    found = alscope("verify", "--json")
    assert found.code == 0 and found.data == {"checked": 1, "bytes": found.data["bytes"], "damaged": []}
    assert "all as they were written" in alscope("verify").out


def flip(folder: Path) -> str:
    path = folder / "a.npy"
    path.chmod(0o640)
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    return "a.npy has changed"


def shorten(folder: Path) -> str:
    path = folder / "deep" / "b.txt"
    path.chmod(0o640)
    path.write_text("w")
    return "deep/b.txt has 1 bytes instead of 5"


def remove(folder: Path) -> str:
    (folder / "deep").chmod(0o750)
    (folder / "deep" / "b.txt").unlink()
    return "deep/b.txt: No such file"


def add(folder: Path) -> str:
    folder.chmod(0o750)
    (folder / "more.txt").write_text("x")
    return "more.txt does not belong"


def spoil(folder: Path) -> str:
    path = folder / "manifest.json"
    path.chmod(0o640)
    path.write_text("{")
    return "manifest.json is missing or cannot be read"


@pytest.mark.parametrize("damage", [flip, shorten, remove, add, spoil])
def test_verify_names_what_is_damaged(scene, alscope, results, damage):
    words = damage(results)
    found = alscope("verify", "--json")
    assert found.code == 65
    (wrong,) = found.data["damaged"]
    assert wrong["name"] == "embedding-0123" and words in wrong["what"]
    assert "-> restore the folder" in alscope("verify").out


def test_verify_names_labels_that_changed_or_are_gone(scene, alscope):
    scene.volume("a.tif")
    for number, name in enumerate(scene.suggest(3)):
        suggestion = scene.store.annotation.suggestion(name)
        data = f"label {number}".encode()
        made = scene.store.labels.receive(
            suggestion, b"/in/x.tif", hashlib.sha256(data).hexdigest(), {"user": "ana"}, scene.now
        )
        (received,) = scene.store.labels.received("id = ?", [made])
        (scene.workspace.root / received.file).write_bytes(data)
        scene.store.labels.accept(received, scene.artifact(f"label-{number}"), "train", 1, [], scene.now)
    received = scene.workspace.labels / "received"
    (received / "s00001-00001.tif").write_bytes(b"other")
    (received / "s00002-00002.tif").unlink()
    damaged = alscope("verify", "--json").data["damaged"]
    assert {d["name"].rpartition("/")[2]: d["what"] for d in damaged if d["kind"] == "label"} == {
        "s00001-00001.tif": "has changed since it was received",
        "s00002-00002.tif": "is gone",
    }
    lost = [d for d in damaged if d["kind"] == "artifact"]
    assert [d["name"] for d in lost] == ["label-0", "label-1", "label-2"]
    assert all("labels of people" in d["todo"] for d in lost)


def test_the_write_ahead_log_does_not_grow(scene, alscope):
    log = scene.workspace.root / f"{DATABASE}-wal"
    most = 0
    for number in range(300):
        scene.store.state.event("daemon", "x" * 40_000, scene.now)
        most = max(most, log.stat().st_size)
        if number % 100 == 50:
            assert alscope("status").code == 0  # readers come and go
    assert most < 6_000_000, "SQLite folds it every 1000 pages, whoever reads"
    scene.store.checkpoint()
    assert log.stat().st_size == 0


def test_a_look_at_a_damaged_database_names_the_way_back(scene, alscope):
    """Trying again in a moment, as for one that is being made, would never help."""
    scene.close()
    (scene.workspace.root / DATABASE).write_bytes(b"no database" * 1000)
    looked = alscope("status")
    assert looked.code == 73
    assert "the database is damaged" in looked.err and "alscope restore --list" in looked.err
