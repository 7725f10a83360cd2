"""A real daemon, real windows: from an acquisition to labels that were checked, without anybody standing in for anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from alcore.arrays.synthetic import em_volume
from alcore.volumes.writers import write_image_tiff
from daemon.cli.session import Session
from daemon.cli.sitting import Sitting
from tests.annotate.conftest import DRIVER
from tests.daemon.daemons import real_daemon

VOXEL_UM = (0.05, 0.01, 0.01)
CONFIG = """
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.5
[patch]
shape_px = [6, 64, 64]
[encoder]
min_patches = 2
[selection]
queue_depth = 4
control_share = 0.0
[training]
every = 50
pretrain = false
[annotation]
margin_px = [0, 8, 8]
[inbox]
settle_s = 0.5
[run]
min_free_gb = 0.0
rescan_s = 2.0
"""


@pytest.mark.slow
def test_labels_from_the_window_are_checked_and_what_was_said_with_them_is_kept(
    tmp_path: Path, screen: dict[str, str], monkeypatch
) -> None:
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    image, _ = em_volume((6, 192, 192), VOXEL_UM, np.random.default_rng(0))
    with real_daemon(tmp_path, CONFIG) as daemon:
        write_image_tiff(daemon.folder / "a.tif", image[None], VOXEL_UM)
        daemon.start()
        daemon.wait(lambda shot: len([q for q in shot.queue if q.ready]) >= 4, 240)
        session = Session()
        session.option = daemon.config
        assert Sitting(session, "ana", True, (sys.executable, str(DRIVER), "draw_and_go_on")).run(None, False) == 0
        listed = json.loads(daemon.alscope("label", "list", "--json").stdout)
        assert [(r["suggestion"], r["state"], r["author"]) for r in listed] == [("s00001", "accepted", "ana")]
        assert listed[0]["n_objects"] > 0
        shot = daemon.wait(lambda shot: {q.id: q.state for q in shot.queue}.get("s00003") == "open", 30)
        assert "s00002" not in {q.id for q in shot.queue if q.state == "open"}
        assert daemon.stop() == 0
