"""A real daemon with real stages on a small synthetic folder: the descriptor first, then suggestions, then the autoencoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from tests.daemon.daemons import real_daemon

CONFIG = """
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.5
voxel_um = [0.04, 0.02, 0.02]
[patch]
shape_px = [16, 64, 64]
[encoder]
size = "micro"
epochs = 4
max_slices = 64
[selection]
queue_depth = 4
control_share = 0.25
[training]
pretrain = false
every = 50
[inbox]
settle_s = 0.3
[run]
min_free_gb = 0.0
rescan_s = 2.0
threads = 1
"""


@pytest.mark.slow
def test_descriptor_then_suggestions_then_autoencoder_then_neighbours(tmp_path):
    with real_daemon(tmp_path, CONFIG) as daemon:
        for number in range(2):
            image, _ = em_volume((16, 256, 256), (0.04, 0.02, 0.02), np.random.default_rng(number))
            if number:
                image[:, :64, :64] = 90  # a patch that shows nothing
            tifffile.imwrite(daemon.folder / f"stack_{number}.tif", image, metadata={"axes": "ZYX"})
        daemon.start()
        first = daemon.wait(lambda shot: len(shot.queue) == 4 and all(q.ready for q in shot.queue), 150)
        assert first.encoders[0].kind == "descriptor"
        assert [q.arm for q in first.queue].count("control") == 1
        before = {q.id: q.reason for q in first.queue}

        last = daemon.wait(
            lambda shot: any(e.kind == "mae" and e.state in ("current", "rejected") for e in shot.encoders), 240
        )
        trained = next(e for e in last.encoders if e.kind == "mae")
        assert trained.result["selftest"]
        if trained.state == "rejected":  # four epochs are few: then it says why, and the descriptor goes on
            assert any(p.kind == "encoder" and "goes on selecting" in p.message for p in last.problems)
        assert {q.id: q.reason for q in last.queue} == before
        assert last.patches["held_back"] == 1
        (held,) = json.loads(daemon.alscope("queue", "--qc", "--json").stdout)
        assert (held["volume"], held["start"]) == ("stack_1.tif", [0, 0, 0])

        for item in last.queue:
            mask = np.zeros(item.shape, np.uint16)
            mask[4:12, 20:40, 20:40] = 1
            tifffile.imwrite(daemon.workspace / "inbox" / f"{item.id}.tif", mask)
        # how many depends on how many answers were in when the queue was filled again: more than half of it
        later = daemon.wait(lambda shot: len({q.id for q in shot.queue if q.ready} - set(before)) > 2, 150)
        shown = json.loads(daemon.alscope("queue", "show", later.queue[0].id, "--json").stdout)
        assert {n["suggestion"] for n in shown["neighbours"]} <= set(before)
        assert len(shown["neighbours"]) == 3
        assert all(n["picture"] in shown["files"] for n in shown["neighbours"])
        page = json.loads((daemon.workspace / "queue" / shown["id"] / "suggestion.json").read_text())
        assert [n["picture"] for n in page["neighbours"]] == ["nearest_1.png", "nearest_2.png", "nearest_3.png"]
        assert page["why"] == shown["why"]
        told = json.loads(daemon.alscope("volumes", "--json").stdout)
        assert sum(v["novelty"] is not None for v in told) == 1  # nothing came before the first
        assert daemon.stop() == 0
