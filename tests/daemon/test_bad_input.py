"""Bad files and bad labels against the real daemon, with the real parts: one clear line each, and the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from tests.daemon.daemons import RealDaemon, real_daemon

CONFIG = """
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.3
[patch]
shape_px = [8, 48, 48]
[encoder]
size = "micro"
epochs = 2
batch = 8
image_px = 32
max_slices = 16
[training]
pretrain = false
every = 100
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
"""


def hand_in(daemon: RealDaemon, path: Path, suggestion: str, *more: str) -> tuple[int, str]:
    """`alscope label add`, and what it says."""
    ended = daemon.alscope("label", "add", str(path), "--for", suggestion, *more, timeout=120)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.timeout(600)
def test_bad_files_and_labels_are_said_and_the_rest_goes_on(tmp_path):
    with real_daemon(tmp_path, CONFIG) as daemon:
        image, labels = em_volume((8, 96, 96), (0.05, 0.01, 0.01), np.random.default_rng(1))
        good = daemon.folder / "good [red].tif"
        tifffile.imwrite(good, image, photometric="minisblack", metadata={"axes": "ZYX"})
        whole = good.read_bytes()
        (daemon.folder / "half.tif").write_bytes(whole[: len(whole) // 2])
        (daemon.folder / "garbage.tif").write_bytes(b"no TIFF at all" * 100)
        (daemon.folder / "empty.tif").write_bytes(b"")
        tifffile.imwrite(
            daemon.folder / "flat.tif",
            np.full((8, 96, 96), 7, np.uint8),
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )
        daemon.start()
        shot = daemon.wait(lambda s: s.volumes["set_aside"] == 4 and sum(q.ready for q in s.queue) == 4, 300)
        assert shot.volumes["ingested"] == 1
        reasons = {p.subject: p.message for p in shot.problems if p.kind == "set aside"}
        assert set(reasons) == {"half.tif", "garbage.tif", "empty.tif", "flat.tif"}
        assert all(name in reason and "\n" not in reason for name, reason in reasons.items())
        assert "half.tif" in daemon.alscope("status", "--problems").stdout
        assert "good [red].tif" in daemon.alscope("volumes").stdout

        first, second = shot.queue[:2]
        box = tuple(slice(a, a + n) for a, n in zip(first.start, first.shape, strict=True))
        truth = labels[box].astype(np.uint16)
        mask = tmp_path / "mask.tif"

        tifffile.imwrite(mask, truth[:, :-1], photometric="minisblack")
        code, said = hand_in(daemon, mask, first.id)
        assert code == 65
        assert str(truth.shape).strip("()") in said.replace(" x ", ", ")
        tifffile.imwrite(mask, truth + np.float32(0.5), photometric="minisblack")
        code, said = hand_in(daemon, mask, first.id)
        assert (code, "whole" in said or "integer" in said) == (65, True), said
        tifffile.imwrite(mask, np.zeros_like(truth), photometric="minisblack")
        code, said = hand_in(daemon, mask, first.id)
        assert (code, "empty" in said) == (65, True), said
        code, said = hand_in(daemon, mask, "s99999")
        assert code != 0
        assert "s99999" in said
        assert len(list((daemon.workspace / "rejected").glob("*.tif"))) == 3

        tifffile.imwrite(mask, truth, photometric="minisblack")
        code, said = hand_in(daemon, mask, first.id, *([] if truth.any() else ["--empty"]))
        assert code == 0, said
        tifffile.imwrite(mask, np.zeros(second.shape, np.uint16), photometric="minisblack")
        code, said = hand_in(daemon, mask, second.id, "--empty", "--user", "anna")
        assert code == 0, said
        told = daemon.status()
        assert told["labels"]["accepted"] == 2
        assert {"daemon", "volumes", "patches", "labels", "queue", "jobs", "models", "rounds", "problems"} <= set(told)
        assert json.dumps(told)

        (daemon.folder / "half.tif").write_bytes(
            whole[:-1] + bytes([whole[-1] ^ 1])
        )  # the rest of the file comes after all
        daemon.wait(lambda s: s.volumes["ingested"] == 2 and s.volumes["set_aside"] == 3, 60)
        assert good.read_bytes() == whole
        assert daemon.stop() == 0
