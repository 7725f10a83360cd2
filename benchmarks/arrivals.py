"""How soon a daemon knows that a file is whole, and has read it, after the last byte was written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from daemon.store.connection import DATABASE, open_reader
from tests.daemon.daemons import RealDaemon, real_daemon

SETTLE_S = 2.0
LIMIT_S = 1.0
CONFIG = f"""workspace = "ws"
[[watch]]
folder = "in"
settle_s = {SETTLE_S}
[run]
min_free_gb = 0.0
[training]
pretrain = false
[encoder]
min_patches = 1000000
"""
"""Nothing is learned: the worker is free whenever a file has settled."""


def latency(repeats: int) -> list[Row]:
    """From close() to settled and to read, without the time that the file has to be quiet for."""
    with tempfile.TemporaryDirectory() as folder, real_daemon(Path(folder), CONFIG) as daemon:
        daemon.start()
        daemon.ready()
        with contextlib.closing(open_reader(daemon.workspace / DATABASE)) as db:
            seen = [_one(daemon, db, number) for number in range(repeats + 1)]
        daemon.stop()
    (_, first), later = seen[0], seen[1:]
    settled, ingested = [s for s, _ in later], [i for _, i in later]
    return [
        Row("last byte to settled, median", statistics.median(settled), "s", LIMIT_S),
        Row(f"last byte to settled, worst of {repeats}", max(settled), "s", LIMIT_S),
        Row("last byte to read, median", statistics.median(ingested), "s", LIMIT_S),
        Row(f"last byte to read, worst of {repeats}", max(ingested), "s", LIMIT_S),
        Row("last byte to read, first file (a worker has to start)", first, "s"),
    ]


def _one(daemon: RealDaemon, db: sqlite3.Connection, number: int) -> tuple[float, float]:
    import tifffile

    path = daemon.folder / f"stack_{number:02d}.tif"
    image = np.random.default_rng(number).integers(0, 200, (8, 256, 256)).astype(np.uint8)
    with open(path, "wb") as f:
        tifffile.imwrite(f, image, metadata={"axes": "ZYX"})
    closed = time.monotonic()
    settled = _wait(db, path, ("settled", "ingested")) - closed
    ingested = _wait(db, path, ("ingested",)) - closed
    return settled - SETTLE_S, ingested - SETTLE_S


def _wait(db: sqlite3.Connection, path: Path, states: tuple[str, ...], timeout_s: float = 60.0) -> float:
    until = time.monotonic() + timeout_s
    state = None
    while time.monotonic() < until:
        row = db.execute("SELECT state FROM source WHERE path = ?", [os.fsencode(path)]).fetchone()
        state = None if row is None else row["state"]
        if state in states:
            return time.monotonic()
        time.sleep(0.005)
    raise TimeoutError(f"{path}: {state} after {timeout_s:.0f} s, expected one of {', '.join(states)}")
