"""Folders on network file systems are scanned often, because events tell nothing of what other machines write."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import load
from daemon.service import Service
from daemon.workspace import Workspace


@pytest.mark.parametrize(("kind", "woken"), [("cifs", True), ("nfs4", True), ("ext4", False)])
def test_the_mount_table_decides_who_is_scanned_often(tmp_path, monkeypatch, kind, woken):
    (tmp_path / "in").mkdir()
    (tmp_path / "config.toml").write_text('workspace = "ws"\n[[watch]]\nfolder = "in"\n')
    settings = load(tmp_path / "config.toml")
    workspace = Workspace(settings.workspace)
    workspace.make()
    service = Service(settings, workspace)
    try:
        table = f"none / ext4 rw 0 0\nserver:/x {tmp_path / 'in'} {kind} rw 0 0\n"
        real = Path.read_text

        def read_text(path: Path, *rest: object, **more: object) -> str:
            return table if str(path) == "/proc/self/mounts" else real(path, *rest, **more)

        monkeypatch.setattr(Path, "read_text", read_text)
        service._hands.ingest._woken.clear()
        service._hands.rescan_remote()
        assert service._hands.ingest._woken.is_set() == woken
    finally:
        service._executor.shutdown(0.0)
        service._store.close()
