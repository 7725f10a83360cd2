"""Folders on network file systems are scanned often, because events tell nothing of what other machines write; very large ones, whose
events come, less often than config.toml says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from daemon import ingest
from daemon.config import load
from daemon.service import Service
from daemon.workspace import Workspace


@pytest.fixture
def service(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "config.toml").write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n')
    settings = load(tmp_path / "config.toml")
    workspace = Workspace(settings.workspace)
    workspace.make()
    made = Service(settings, workspace)
    yield made
    made._hands.stop_scan()
    made._executor.shutdown(0.0)
    made._store.close()


def mounted(monkeypatch, folder: Path, kind: str) -> None:
    """The folder is said to lie on a file system of this kind."""
    real = Path.read_text

    def read_text(path: Path, *rest: object, **more: object) -> str:
        said = f"none / ext4 rw 0 0\nserver:/x {folder} {kind} rw 0 0\n"
        return said if str(path) == "/proc/self/mounts" else real(path, *rest, **more)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize(("kind", "woken"), [("cifs", True), ("nfs4", True), ("ext4", False)])
def test_the_mount_table_decides_who_is_scanned_often(service, tmp_path, monkeypatch, kind, woken):
    mounted(monkeypatch, tmp_path / "in", kind)
    service._hands.ingest._woken.clear()
    service._hands.rescan_remote()
    assert service._hands.ingest._woken.is_set() == woken


def timed(service) -> bool:
    """Has the timer, when it fires now, a scan made?"""
    service._hands.ingest._woken.clear()
    service._hands.rescan()
    return service._hands.ingest._woken.is_set()


def test_a_scan_that_takes_long_is_timed_less_often_while_events_come(service, tmp_path, monkeypatch):
    hands = service._hands
    mounted(monkeypatch, tmp_path / "in", "xfs")
    hands.ingest._scanned = (time.monotonic(), 0.18)  # as of 10,000 files
    assert timed(service), "nothing is watched yet"
    assert hands.watcher.supervise() == []
    assert not timed(service)
    hands.ingest._scanned = (time.monotonic() - 71, 0.18)
    assert not timed(service)
    hands.ingest._scanned = (time.monotonic() - 73, 0.18)
    assert timed(service)
    hands.ingest._scanned = (time.monotonic() - 301, 10.0)
    assert timed(service), "every five minutes, however long it takes"
    hands.ingest._scanned = (time.monotonic() - 29, 0.01)
    assert timed(service), "a small folder as config.toml says"

    hands.ingest._scanned = (time.monotonic(), 0.18)
    with monkeypatch.context() as patch:
        patch.setattr(hands.watcher, "_problems", [f"{tmp_path / 'in'}: no file events (no space left on device)"])
        assert timed(service), "without events the scan is all there is"
    with monkeypatch.context() as patch:
        mounted(patch, tmp_path / "in", "fuse.rclone")
        assert timed(service), "others may write there, and nobody hears of it"
    assert not timed(service)
    (tmp_path / "in").rename(tmp_path / "away")
    hands.watcher.supervise()
    assert timed(service), "a folder that is away may come back"


def test_what_a_scan_takes_is_measured(service, tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / "in" / f"{number}.tif").write_bytes(b"x")
    service._hands.ingest.start()
    until = time.monotonic() + 10
    while service._hands.ingest._scanned[1] == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert 0 < service._hands.ingest._scanned[1] < 5
    monkeypatch.setattr(ingest, "TIMED_SHARE", 1e-9)
    assert service._hands.ingest.was_dear()
