"""Memory that was needed for moments is given back to the machine; without that the daemon stays as large as it ever was."""

from __future__ import annotations

import ctypes
import gc
import queue
import weakref
from pathlib import Path

import psutil
import pytest

from alcore.stage import Input
from daemon.executors.port import Finished, Order, Places
from daemon.executors.process import Lane, ProcessExecutor
from tests.daemon.play import Stage

BLOCK, N = 64 << 10, 1000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what was freed")
def test_housekeeping_gives_back_what_was_freed_between_what_is_kept(tmp_path: Path) -> None:
    stage, process = Stage(tmp_path), psutil.Process()
    stage.engine.housekeeping()
    before = process.memory_info().rss
    blocks = [bytes([i % 256]) * BLOCK for i in range(N)]
    kept = blocks[::16]  # what lies above a hole keeps glibc from giving it back by itself
    del blocks
    freed = (N - len(kept)) * BLOCK
    held = process.memory_info().rss - before
    assert held > freed / 2, "the C library kept nothing: this test shows nothing"
    stage.engine.housekeeping()
    assert process.memory_info().rss - before < held - freed / 2
    stage.store.close()


def test_a_lane_that_waits_for_work_holds_nothing_of_its_last_order(tmp_path: Path) -> None:
    reports: queue.SimpleQueue[object] = queue.SimpleQueue()
    places = Places(tmp_path / "artifacts", tmp_path / "cache", tmp_path / "jobs")
    executor = ProcessExecutor(places, reports, [Lane(False, 1)], nice=0)
    inputs = {"source": [Input(tmp_path / "gone.tif", "file:gone")]}
    order = Order(1, 1, "key", "volume", inputs, {}, "cpu", 1, 1 << 30, False, False, 60.0)
    held = weakref.ref(order)
    try:
        executor.start(order)
        del order
        while not isinstance(reports.get(timeout=60), Finished):
            pass
        gc.collect()
        assert held() is None
    finally:
        executor.shutdown(0.0)
