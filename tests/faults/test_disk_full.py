"""A disk that is really full (a small tmpfs and a ballast file): the daemon says so, waits, loses nothing, and goes on by itself."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from alcore.arrays.synthetic import em_volume
from daemon.store.views import Snapshot
from tests.daemon.daemons import RealDaemon, real_daemon
from tests.faults.invariants import check, digests
from tests.faults.small_disk import Ballast, small_disk

SIZE_MB = 64
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
max_slices = 16
retrain_growth = 100
[selection]
queue_depth = 2
[training]
pretrain = false
every = 1000
[inbox]
settle_s = 0.2
[run]
min_free_gb = 0.0
rescan_s = 2.0
nice = 0
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """tmp_path/ws on a small file system of its own."""
    with small_disk(tmp_path / "ws", SIZE_MB) as made:
        yield made


@pytest.fixture
def daemon(disk: Path, tmp_path: Path) -> Iterator[RealDaemon]:
    with real_daemon(tmp_path, CONFIG) as made:
        yield made


def says_so(daemon: RealDaemon) -> None:
    """`alscope status` has one line that names the disk and says what to do."""
    told = daemon.alscope("status")
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stdout.splitlines() if "the disk is full" in line]
    assert len(lines) == 1, told.stdout
    assert str(daemon.workspace) in lines[0] and "free some space" in lines[0]


@contextlib.contextmanager
def in_peace(daemon: RealDaemon, cores: float = 0.5, lines: int = 12) -> Iterator[None]:
    """What happens inside neither ends the daemon, nor keeps a core busy, nor fills its log."""
    process = psutil.Process(daemon.process.pid)
    before, began, said = sum(process.cpu_times()[:2]), time.monotonic(), len(daemon.log.splitlines())
    yield
    assert daemon.process.poll() is None, daemon.log[-3000:]
    assert sum(process.cpu_times()[:2]) - before < 1 + cores * (time.monotonic() - began)
    assert len(daemon.log.splitlines()) - said <= lines, daemon.log[-3000:]


def stories(daemon: RealDaemon) -> list[tuple[str, str, int, str]]:
    """(stage, state, attempts, error) of every job."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.workspace}/alscope.db?mode=ro", uri=True)) as db:
        return db.execute("SELECT stage, state, attempts, error FROM job ORDER BY id").fetchall()


def at_rest(daemon: RealDaemon, published: Path, calm_s: float = 3.0) -> None:
    """Wait until the label is published, the queue is full and nothing is left to do; one done job may let the next be planned."""
    since = time.monotonic()

    def calm(shot: Snapshot) -> bool:
        nonlocal since
        busy = any(n for state, n in shot.jobs.items() if state != "done")
        if busy or not published.exists() or sum(q.ready for q in shot.queue) < 2:
            since = time.monotonic()
        return time.monotonic() - since > calm_s

    daemon.wait(calm, 150)


def acquire(daemon: RealDaemon, name: str, seed: int) -> np.ndarray:
    """Put a volume into the watched folder; returns its labels."""
    image, labels = em_volume((8, 96, 96), (0.04, 0.02, 0.02), np.random.default_rng(seed))
    tifffile.imwrite(daemon.folder / name, image, metadata={"axes": "ZYX"})
    return labels


@pytest.mark.parametrize("spare", [0, 1 << 16, 1 << 18])
def test_a_daemon_that_starts_on_a_full_disk_waits_for_room(daemon, disk, spare):
    ballast = Ballast(disk)
    ballast.fill(spare)
    daemon.start()
    until = time.monotonic() + 30
    while "the disk is full" not in daemon.log:
        assert time.monotonic() < until, daemon.log
        assert daemon.process.poll() is None, daemon.log
        time.sleep(0.1)
    with in_peace(daemon, lines=0):
        says_so(daemon)
        time.sleep(1.5)
    ballast.drop()
    daemon.ready()
    assert daemon.stop() == 0
    check(daemon.workspace)


@pytest.mark.timeout(400)
def test_a_disk_that_fills_up_amid_jobs_spends_no_attempt_and_loses_no_label(daemon, disk):
    ballast = Ballast(disk)
    labels = acquire(daemon, "a.tif", 0)
    daemon.start()
    shot = daemon.wait(lambda s: sum(q.ready for q in s.queue) == 2 and not s.running)
    asked = json.loads((daemon.workspace / "queue" / shot.queue[0].id / "suggestion.json").read_text())["box"]
    box = tuple(slice(a, a + n) for a, n in zip(asked["start"], asked["shape"], strict=True))
    drawn = np.ascontiguousarray(labels[box]).astype(np.uint16)
    drawn[0, 0, 0] = 1
    tifffile.imwrite(daemon.workspace / ".drawn", drawn)
    for number in range(1, 4):
        acquire(daemon, f"{number}.tif", number)
    before = digests(daemon.folder)
    daemon.wait(lambda s: any(j.stage in ("volume", "pseudo", "embedding") for j in s.running))
    ballast.fill()
    os.rename(daemon.workspace / ".drawn", daemon.workspace / "inbox" / f"{shot.queue[0].id}.tif")
    with in_peace(daemon):
        time.sleep(5)
        says_so(daemon)
        check(daemon.workspace)
    ballast.drop()
    whole = {"ingested": 4, "pseudo_labelled": 4, "embedded": 4}
    daemon.wait(lambda s: s.labels["accepted"] == 1 and whole.items() <= s.volumes.items() and not s.problems, 200)
    published = daemon.workspace / "labels" / f"{shot.queue[0].id}.tif"
    at_rest(daemon, published)

    assert daemon.stop() == 0
    check(daemon.workspace)
    assert not [story for story in stories(daemon) if story[1] != "done"]
    assert {attempts for _, _, attempts, _ in stories(daemon)} <= {0, 1}, stories(daemon)
    assert not list((daemon.workspace / "artifacts" / ".staging").iterdir())
    assert not list(daemon.workspace.glob("*/.*.tmp"))
    assert digests(daemon.folder) == before
