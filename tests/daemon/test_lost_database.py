"""A real daemon whose database is overwritten: with a backup it says the command, without one it begins anew."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.daemon.daemons import RealDaemon, real_daemon


def overwrite(path: Path) -> None:
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(4096 * 30))


def reads_again(daemon: RealDaemon) -> list[str]:
    """Start it, and wait until it knows its volume; returns what it told."""
    daemon.start()
    daemon.ready()
    shot = daemon.wait(lambda s: s.volumes["ingested"] == 1, 60)
    assert daemon.stop() == 0
    return [event.message for event in shot.events]


@pytest.mark.slow
def test_a_daemon_goes_on_after_a_restore_and_after_a_rebuild(tmp_path: Path) -> None:
    with real_daemon(tmp_path) as daemon:
        image = np.random.default_rng(0).integers(0, 255, (8, 64, 64), dtype=np.uint8)
        tifffile.imwrite(daemon.folder / "a.tif", image, imagej=True, metadata={"axes": "ZYX"})
        reads_again(daemon)
        assert daemon.alscope("backup").returncode == 0
        path = daemon.workspace / "alscope.db"
        overwrite(path)
        assert daemon.start().wait(30) == 73
        assert "`alscope restore` puts it back" in daemon.log.splitlines()[-1]
        restored = daemon.alscope("restore")
        assert restored.returncode == 0, restored.stderr
        assert any("was put back" in message for message in reads_again(daemon))
        for backup in (daemon.workspace / "backups").glob("*.db"):
            backup.unlink()
        overwrite(path)
        assert any("no sound backup" in message for message in reads_again(daemon))
        assert len(list(daemon.workspace.glob("alscope.db.damaged-*Z"))) == 1
        assert daemon.alscope("verify").returncode == 0
