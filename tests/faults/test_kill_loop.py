"""kill -9 of the daemon and of its workers, in a loop, on a real run with the real parts: nothing is lost, stuck or half-written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from alcore.arrays.synthetic import em_volume
from daemon.demo.expert import Expert
from daemon.demo.microscope import Microscope
from daemon.demo.split import Piece
from tests.daemon.daemons import RealDaemon, real_daemon

KILLS = 14
CONFIG = """
workspace = "ws"
[[watch]]
folder = "in"
settle_s = 0.5
[patch]
shape_px = [8, 48, 48]
[encoder]
size = "micro"
epochs = 2
image_px = 32
batch = 8
max_slices = 32
[selection]
queue_depth = 4
[training]
every = 2
pretrain_max_patches = 4
pretrain_schedule = {epochs = 2, iterations = 2}
finetune_schedule = {epochs = 2, iterations = 2}
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
"""


def pieces() -> list[Piece]:
    made = []
    for number in range(3):
        image, labels = em_volume((8, 96, 96), (0.04, 0.008, 0.008), np.random.default_rng(number))
        made.append(Piece(f"volume_{number}.tif", image, labels, (0.04, 0.008, 0.008)))
    return made


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RealDaemon]:
    with real_daemon(tmp_path, CONFIG) as made:
        yield made


@pytest.mark.timeout(900)
def test_kill_9_at_any_moment_loses_nothing(daemon):
    rng = random.Random(20250314)
    volumes = pieces()
    Microscope(volumes, daemon.folder, 0.0).run(threading.Event())
    before = digests(daemon.folder)
    expert = Expert({p.name: p.labels for p in volumes}, daemon.workspace, 0.0, lambda: True)
    stop = threading.Event()
    thread = threading.Thread(target=expert.run, args=(stop,), name="expert")
    thread.start()
    try:
        for _ in range(KILLS):
            daemon.start()
            daemon.ready()
            time.sleep(rng.uniform(0.0, 6.0))
            workers = daemon.family()
            if workers and rng.random() < 0.4:
                victim = rng.choice(workers)
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
                time.sleep(rng.uniform(0.0, 2.0))
            daemon.kill()
            check(daemon)
        daemon.start()
        shot = daemon.wait(
            lambda s: any(r.state == "done" for r in s.rounds) and s.volumes["predicted"] == 3 and not s.running, 600
        )
    finally:
        stop.set()
        thread.join()
    assert not expert.error
    assert shot.volumes["ingested"] == shot.volumes["pseudo_labelled"] == shot.volumes["embedded"] == 3
    assert daemon.stop() == 0
    check(daemon)
    shot = daemon.shot()
    assert not shot.jobs.get("running")
    assert not shot.jobs.get("failed"), shot.problems
    assert shot.labels["accepted"] + sum(q.state != "accepted" for q in shot.queue) >= len(expert.answered)
    assert digests(daemon.folder) == before


def check(daemon: RealDaemon) -> None:
    """The invariants that hold after any fault, before anybody mends anything."""
    db = sqlite3.connect(f"file:{daemon.workspace}/alscope.db?mode=ro", uri=True)
    try:
        assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
        done = [r[0] for r in db.execute("SELECT key FROM job WHERE state = 'done'")]
        labels = [r[0] for r in db.execute("SELECT artifact FROM label")]
        received = [(r[0], r[1]) for r in db.execute("SELECT file, state FROM received WHERE filed = 1")]
    finally:
        db.close()
    for key in [*done, *labels]:
        whole(daemon.workspace / "artifacts" / key.rsplit("-", 1)[-1][:2] / key)
    for file, state in received:
        assert state == "rejected" or (daemon.workspace / file).is_file()
    for folder in (daemon.workspace / "queue").iterdir():
        if not folder.name.startswith("."):
            assert json.loads((folder / "suggestion.json").read_text())["id"] == folder.name
            assert (folder / "image.tif").stat().st_size > 0


def whole(artifact: Path) -> None:
    """Every file that the manifest names is there with the bytes it had."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((artifact / name).read_bytes()).hexdigest() == entry["sha256"], name
