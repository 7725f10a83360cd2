"""Memory that was needed for moments is given back to the machine; without that the daemon stays as large as it ever was."""

from __future__ import annotations

import ctypes
from pathlib import Path

import psutil
import pytest

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
