"""A worker on a full disk: its job is said to have had no room, whatever way it ended, and is done when there is room."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from alcore.artifact import ArtifactStore
from alcore.run import key_of
from alcore.stage import Input
from daemon.executors.port import Finished, Order, Places, Progress
from daemon.executors.process import Lane, ProcessExecutor
from tests.faults.small_disk import Ballast, small_disk

PARAMS = {"read": {}, "voxel_um": None, "patch": {"shape_px": [4, 32, 32]}, "fingerprint": None, "limit_gb": 100.0}


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with small_disk(tmp_path / "ws", 16) as root:
        yield Places(root / "artifacts", root / "cache", root / "jobs")


@pytest.fixture
def reports() -> queue.SimpleQueue[object]:
    return queue.SimpleQueue()


@pytest.fixture
def executor(places: Places, reports) -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(places, reports, [Lane(False, 1)], nice=0)
    yield made
    made.shutdown(0.0)


def order(path: Path) -> Order:
    inputs = {"source": [Input(path, f"file:{path.name}")]}
    key = key_of("volume", inputs, PARAMS)
    return Order(1, 1, key, "volume", inputs, PARAMS, "cpu", 1, 4 << 30, False, False, 60.0)


def finish(executor: ProcessExecutor, reports) -> Finished:
    while not isinstance(report := reports.get(timeout=60), Finished):
        pass
    until = time.monotonic() + 5
    while not executor.free(False, "volume"):
        assert time.monotonic() < until
        time.sleep(0.01)
    return report


def no_room(end: Finished, places: Places) -> None:
    assert (end.outcome in ("failed", "lost"), end.kind) == (True, "disk_full"), end
    assert str(places.artifacts.parent) in end.error and "free some space" in end.error
    assert "\n" not in end.error


@pytest.mark.parametrize("warm", [False, True])
def test_a_job_without_room_is_done_when_there_is_room(executor, reports, places, tmp_path, warm):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(8 * 64 * 64, dtype=np.uint16).reshape(8, 64, 64), metadata={"axes": "ZYX"})
    if warm:
        executor.start(order(tmp_path / "missing.tif"))
        assert finish(executor, reports).kind == "source_missing"
    ballast = Ballast(places.artifacts.parent)
    ballast.fill()
    for _ in range(2):
        executor.start(order(path))
        no_room(finish(executor, reports), places)
    ballast.drop()
    executor.start(order(path))
    assert finish(executor, reports) == Finished(1, 1, "done")
    assert not list(ArtifactStore(places.artifacts).staging.iterdir())


def test_a_write_to_a_mapped_file_without_room_is_no_fault_of_the_job(executor, reports, places, tmp_path):
    large = tmp_path / "large.tif"
    tifffile.imwrite(large, shape=(4000, 1024, 1024), dtype=np.uint8, bigtiff=True, metadata={"axes": "ZYX"})
    with open(large, "r+b") as f:
        f.seek(-1_500_000, os.SEEK_END)  # in the last plane: behind it lie the directories
        f.write(b"\x07")
    executor.start(order(large))
    assert isinstance(reports.get(timeout=60), Progress)
    ballast = Ballast(places.artifacts.parent)
    ballast.fill()
    (worker,) = [c for c in psutil.Process().children() if "daemon.executors.worker" in " ".join(c.cmdline())]
    worker.send_signal(signal.SIGBUS)
    no_room(finish(executor, reports), places)
    assert not list(ArtifactStore(places.artifacts).staging.iterdir())
