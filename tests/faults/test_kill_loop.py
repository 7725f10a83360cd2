"""kill -9 of the daemon and of its workers at every stage of a real run with the real parts: nothing is lost, stuck or half-written."""

from __future__ import annotations

import contextlib
import random
import signal
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
from daemon.store.views import Snapshot
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.invariants import check, digests

KILLED_IN = ("", "volume", "encoder", "embedding", "label", "finetune", "predict")
"""Where the daemon is, or already was, when it is killed; "": just started."""
WORKER_FIRST = ("volume", "finetune")
"""Where one of its workers is killed before."""
VOXEL_UM = (0.04, 0.02, 0.02)
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
# without a pre-trained model to be compared with, the first candidate is promoted for certain, and predictions are made
pretrain = false
finetune_schedule = {epochs = 2, iterations = 2}
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
"""


def pieces() -> list[Piece]:
    """Two volumes of four patches, each with an object in it: a round can be trained whichever patches it gets."""
    made = []
    for number in (4, 6):
        image, labels = em_volume((8, 96, 96), VOXEL_UM, np.random.default_rng(number))
        assert all(labels[:, y : y + 48, x : x + 48].any() for y in (0, 48) for x in (0, 48))
        made.append(Piece(f"volume_{number}.tif", image, labels, VOXEL_UM))
    return made


def reached(daemon: RealDaemon, stage: str) -> bool:
    """A job of this stage is running, or is done."""
    jobs = daemon.jobs(stage)
    return not stage or any(state in ("running", "done") for state in jobs)


def finished(shot: Snapshot) -> bool:
    """Everything is answered, judged and predicted, and nothing is left to do."""
    waiting = sum(shot.jobs.get(state, 0) for state in ("waiting", "ready", "running"))
    rounds = [r.state for r in shot.rounds]
    return not waiting and bool(rounds) and set(rounds) == {"done"} and shot.volumes["predicted"] == 2


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RealDaemon]:
    with real_daemon(tmp_path, CONFIG) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
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
        for stage in KILLED_IN:
            daemon.start()
            daemon.ready()
            daemon.wait(lambda _, stage=stage: reached(daemon, stage), 120)
            time.sleep(rng.uniform(0.0, 1.0))
            if stage in WORKER_FIRST and (workers := daemon.family()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(workers).send_signal(signal.SIGKILL)
                time.sleep(rng.uniform(0.0, 1.0))
            daemon.kill()
            check(daemon.workspace)
        daemon.start()
        shot = daemon.wait(finished, 240)
    finally:
        stop.set()
        thread.join()
    assert not expert.error
    assert shot.volumes["ingested"] == shot.volumes["pseudo_labelled"] == shot.volumes["embedded"] == 2
    assert daemon.stop() == 0
    check(daemon.workspace)
    shot = daemon.shot()
    assert not shot.jobs.get("running")
    assert not shot.jobs.get("failed"), shot.problems
    assert shot.labels["accepted"] == len(expert.answered) == shot.patches["total"]
    assert sorted(p.stem for p in (daemon.workspace / "labels").glob("*.tif")) == sorted(expert.answered)
    assert digests(daemon.folder) == before
