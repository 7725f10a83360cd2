"""A file that decodes to more than it may costs its job one clear line, and neither the worker nor the daemon."""

from __future__ import annotations

import queue
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from alcore.run import key_of
from alcore.stage import Input
from daemon.executors.memory import SLACK_BYTES, memory_limit
from daemon.executors.port import Finished, Order, Places
from daemon.executors.process import Lane, ProcessExecutor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is such a limit on Linux only")

PARAMS = {"read": {}, "voxel_um": None, "patch": {"shape_px": [4, 32, 32]}, "fingerprint": None, "limit_gb": 100.0}
RAM_BYTES = 32 << 20
EDGE_PX = 32768
"""One plane of so many pixels squared is 1 GiB: more than RAM_BYTES and the slack."""


def bomb(path: Path) -> Path:
    """Two planes, each one strip of about 3 MB that decodes to 1 GiB: few enough bytes to fool, too many to be refused by ratio."""
    rng = np.random.default_rng(0)
    block = np.zeros(1 << 20, np.uint8)
    block[rng.integers(0, block.size, 700)] = rng.integers(1, 255, 700)
    packer = zlib.compressobj(1)
    strip = b"".join([*(packer.compress(block) for _ in range(EDGE_PX**2 >> 20)), packer.flush()])
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter([strip, strip]), shape=(2, EDGE_PX, EDGE_PX), dtype=np.uint8, compression="zlib", rowsperstrip=EDGE_PX,
            photometric="minisblack", metadata={"axes": "ZYX"},
        )  # fmt: skip
    return path


@pytest.fixture
def reports() -> queue.SimpleQueue[object]:
    return queue.SimpleQueue()


@pytest.fixture
def executor(tmp_path: Path, reports) -> Iterator[ProcessExecutor]:
    places = Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")
    made = ProcessExecutor(places, reports, [Lane(False, 1)], nice=0)
    yield made
    made.shutdown(0.0)


def run(executor: ProcessExecutor, reports, job_id: int, path: Path) -> Finished:
    inputs = {"source": [Input(path, f"file:{path.name}")]}
    key = key_of("volume", inputs, PARAMS)
    executor.start(Order(job_id, 1, key, "volume", inputs, PARAMS, "cpu", 1, RAM_BYTES, False, False, 60.0))
    while not isinstance(report := reports.get(timeout=60), Finished):
        pass
    return report


def workers() -> list[int]:
    return [c.pid for c in psutil.Process().children() if "daemon.executors.worker" in " ".join(c.cmdline())]


def test_a_bomb_ends_with_one_line_about_memory_and_the_same_worker_serves_on(executor, reports, tmp_path):
    path = bomb(tmp_path / "bomb.tif")
    assert path.stat().st_size < 16 << 20
    end = run(executor, reports, 1, path)
    (worker,) = workers()
    assert (end.outcome, end.kind) == ("failed", "unreadable"), end
    assert "bomb.tif" in end.error
    assert "memory" in end.error
    assert "\n" not in end.error
    assert psutil.Process(worker).memory_info().rss < (1 << 30)

    good = tmp_path / "good.tif"
    tifffile.imwrite(good, np.arange(8 * 64 * 64, dtype=np.uint16).reshape(8, 64, 64), metadata={"axes": "ZYX"})
    assert run(executor, reports, 2, good) == Finished(2, 1, "done")
    assert workers() == [worker]


def test_beyond_the_limit_is_a_memory_error_and_afterwards_it_is_gone():
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(RAM_BYTES):
        np.zeros(RAM_BYTES // 2, np.uint8).fill(1)
        with pytest.raises(MemoryError):
            np.zeros(RAM_BYTES + SLACK_BYTES + (64 << 20), np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    np.zeros(RAM_BYTES + SLACK_BYTES + (64 << 20), np.uint8)
