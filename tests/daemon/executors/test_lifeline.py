"""A worker whose parent is killed dies with it, and so do the worker's own children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

PARENT = """
import queue, sys, time
from pathlib import Path
from alcore.run import key_of
from alcore.stage import Input
from daemon.executors.port import Order, Places
from daemon.executors.process import Lane, ProcessExecutor
root = Path(sys.argv[1])
executor = ProcessExecutor(Places(root / "a", root / "c", root / "j"), queue.SimpleQueue(), [Lane(False, 1)], 0)
inputs = {"source": [Input(root / "missing.tif", "file:x")]}
executor.start(Order(1, 1, key_of("volume", inputs, {}), "volume", inputs, {}, "cpu", 1, 4 << 30, False, False, 60.0))
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="process groups are read from /proc")
def test_workers_die_with_their_parent(tmp_path: Path):
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)])
    try:
        until = time.monotonic() + 30
        workers: list[psutil.Process] = []
        while not workers and time.monotonic() < until:
            workers = psutil.Process(parent.pid).children(recursive=True)
            time.sleep(0.05)
        assert workers
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 15
    while any(psutil.pid_exists(w.pid) and w.status() != psutil.STATUS_ZOMBIE for w in workers):
        assert time.monotonic() < until, f"orphans: {workers}"
        time.sleep(0.05)
